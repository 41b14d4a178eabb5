"""Image configuration and options -> OCI runtime spec -> plan (pure), and the launch. Knows no store."""
