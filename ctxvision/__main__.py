import sys

from ctxvision.cli.main import main

sys.exit(main())
