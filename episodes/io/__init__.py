"""Reading and writing volumes: NIfTI, DICOM, PNG, .npy arrays."""
