"""`python -m langneurons`."""

from langneurons.cli import main

if __name__ == "__main__":
    main()
