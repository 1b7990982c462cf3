"""``python -m nasvit`` is the ``nasvit`` command."""

from nasvit.cli import main

main()
