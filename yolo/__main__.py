"""`python -m yolo`: the same entry point as `yolo`."""

from yolo.cli import main

if __name__ == "__main__":
    main()
