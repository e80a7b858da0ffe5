"""The LightningModule, its optimiser, schedule and callbacks."""
