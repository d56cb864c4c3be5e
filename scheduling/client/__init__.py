"""The gateway for programs that are not ours."""
