"""``python -m evolving_attention`` is the command line; ``torchrun -m evolving_attention`` too."""

from evolving_attention.cli import main

if __name__ == "__main__":
    main()
