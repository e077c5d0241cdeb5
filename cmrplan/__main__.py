"""``python -m cmrplan`` is the command ``cmrplan``."""

from cmrplan.cli import main

if __name__ == "__main__":
    main()
