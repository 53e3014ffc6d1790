"""Volumes in files: NIfTI, DICOM, arrays."""
