"""Questions for verifiers, and what becomes of their answers: boxes, claims, VNN-LIB, replays. No torch, no onnx."""

from lunet_export.verification.box import WORDS, LatentBox, Share
from lunet_export.verification.claim import Claim
from lunet_export.verification.coverage import coverage
from lunet_export.verification.folder import VerifierFolder
from lunet_export.verification.replay import Replay, replay

__all__ = ["WORDS", "Claim", "LatentBox", "Replay", "Share", "VerifierFolder", "coverage", "replay"]
