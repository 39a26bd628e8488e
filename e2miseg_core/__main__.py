"""`python -m e2miseg_core`, which `torchrun -m e2miseg_core` starts, too."""

from e2miseg_core.cli import main

if __name__ == "__main__":
    main()
