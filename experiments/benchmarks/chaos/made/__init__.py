"""Folders of images that are made wrong, or only unusual, together with what is right to do with each."""
