"""What motion leaves: smooth deformations, distortion along the phase-encode axis."""
