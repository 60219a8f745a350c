"""What helps to test an application that uses this package."""
