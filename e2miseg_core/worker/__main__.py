"""`python -m e2miseg_core.worker`, as the plugin starts it."""

from e2miseg_core.worker.server import main

if __name__ == "__main__":
    main()
