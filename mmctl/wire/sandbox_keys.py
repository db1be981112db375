"""The standard test key of ``mmctl sandbox``. It is no secret: it opens nothing but a make-believe account."""

from __future__ import annotations

SANDBOX_KEY = "mmctlSandboxMainKeyThatIsNoSecret000000000000000000000000000main"
SANDBOX_SECRET = "mmctlSandboxMainSecretThatIsNoSecret00000000000000000000000main1"
