"""Image caches: one file per dataset and size, with everything that training needs, encrypted if asked for."""
