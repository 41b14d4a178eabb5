"""Other kernels: which file is one, what a machine monitor is told, and what a guest prepares. Pure."""
