"""The tests of micronode."""

import os

# An operator's own settings are no part of what is tested.
for _name in [name for name in os.environ if name.startswith("MICRONODE_")]:
    del os.environ[_name]
