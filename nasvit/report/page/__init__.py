"""The page of a folder: what ``nasvit run``, ``nasvit fit`` or an export left there, as one HTML file.

``reading`` opens files that may be missing or cut off, ``holding`` says what a folder holds, one module for each
section makes plain values of it, ``plotting`` draws, ``render`` fills the templates, ``command`` is what users call.
"""
