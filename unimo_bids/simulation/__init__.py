"""Series with exact truth: anatomy, kinematics, EPI artefacts, and small BIDS datasets of them."""
