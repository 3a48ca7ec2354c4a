"""Print the reference of the data policy: `python -m governance > docs/policy.md`."""

import sys


def main() -> int:
    """Print it."""
    from governance.reference import policy_reference

    sys.stdout.write(policy_reference())
    return 0


if __name__ == "__main__":
    sys.exit(main())
