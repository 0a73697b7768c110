"""The changes, oldest first; one file each, never edited once a stage has it."""
