"""One call of the API: who asks, where, and the emulator that answers. Handed to every action."""

from __future__ import annotations

import dataclasses

from tfsd.sagemaker.emulator import Emulator
from tfsd.sagemaker.state import ACCOUNT


@dataclasses.dataclass(frozen=True)
class Call:
    """The region is the one that the request was signed for."""

    emulator: Emulator
    region: str
    request_id: str

    def arn(self, kind: str, name: str) -> str:
        """`arn:aws:sagemaker:REGION:ACCOUNT:KIND/NAME`; kind is as in AWS's ARNs: `model`, `transform-job`, …"""
        return f"arn:aws:sagemaker:{self.region}:{ACCOUNT}:{kind}/{name.lower()}"
