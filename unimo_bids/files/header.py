"""What a NIfTI header says, and whether to believe it: kind of data, geometry, time.

Headers are read unchecked: nibabel's own checks repair silently what a user should hear about.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from unimo_bids.errors import InputError

Float64 = npt.NDArray[np.float64]

# Two grids are one if no corner differs by more: well above what a float32 quaternion rounds off,
# well below what motion correction can see.
SAME_GRID_VOXELS = 0.05
# From ex-vivo microscopy to a coarse localiser; outside, the unit is wrong rather than the scanner.
SMALLEST_VOXEL, LARGEST_VOXEL = 0.1, 20.0
# A series with one frame in more than this many seconds is one whose TR is in milliseconds.
LONGEST_TR = 60.0
# Nothing is imaged slower, whatever the unit.
SLOWEST_TR = 3600.0
# mm. Beyond, float64 no longer tells a tenth of a micrometre.
_FARTHEST_ORIGIN = 1e9
# Room for DICOM extensions; an offset beyond it is a broken header.
_LARGEST_OFFSET = 256 * 2**20

_LAST_FORM_CODE = 5
_END_OF_LINE = ((13, 10, 26, 10), (0, 0, 0, 0))
_MAGIC = {348: b"n+1", 540: b"n+2"}
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}
_SECONDS_PER_UNIT = {16: 1e-3, 24: 1e-6}


def read_header(stream: BinaryIO, path: Path) -> Nifti1Header:
    """Read the header (NIfTI-1 or -2, either byte order) from the start of an open file."""
    start = stream.read(4)
    sizes = [struct.unpack(order + "i", start)[0] for order in "<>"] if len(start) == 4 else []
    size = next((size for size in sizes if size in _MAGIC), None)
    if size is None:
        raise InputError(path, "this is not a NIfTI file", "give a .nii or .nii.gz file")
    stream.seek(0)
    kind = Nifti1Header if size == 348 else Nifti2Header
    try:
        header = kind.from_fileobj(stream, check=False)
    except (HeaderDataError, WrapStructError, ValueError, OverflowError, struct.error) as error:
        finding = f"its NIfTI header cannot be read ({error})"
        raise InputError(path, finding, "export or convert the series again") from error
    magic = bytes(header["magic"])
    if magic[:2] == b"ni":
        finding = "this is one half of a .hdr/.img pair"
        raise InputError(path, finding, "convert the pair to one .nii or .nii.gz file")
    if magic[:3] != _MAGIC[size]:
        finding = f"its magic number is {magic[:3]!r} instead of {_MAGIC[size]!r}"
        raise InputError(path, finding, "export or convert the series again as NIfTI")
    offset = float(header["vox_offset"])
    if not size + 4 <= offset <= _LARGEST_OFFSET:
        finding = f"its header says that the data begin at byte {offset:g}, which cannot be"
        raise InputError(path, finding, "export or convert the series again")
    return header


def sound_header(header: Nifti1Header) -> tuple[Nifti1Header, list[str]]:
    """Repair fields that would make unreadable what is written with them.

    Returns
    -------
    header
        A copy.
    warnings
        What was found and done, a sentence each.
    """
    sound, warnings = header.copy(), list[str]()
    sound.extensions = header.extensions

    def mend(field: str, value: object, finding: str) -> None:
        sound[field] = value
        warnings.append(f"The header's {finding}.")

    magic = header["magic"].item()
    if magic != header.single_magic:
        mend("magic", header.single_magic, f"magic number is {magic!r}; mended")
    if isinstance(header, Nifti2Header) and tuple(header["eol_check"]) not in _END_OF_LINE:
        mend("eol_check", _END_OF_LINE[0], "test of line ends fails; mended")
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if np.isinf(slope):
        mend("scl_slope", 0, f"slope is {slope:g}; values are taken as they are stored")
    if np.isinf(intercept) or (np.isnan(intercept) and np.isfinite(slope) and slope != 0):
        mend("scl_inter", 0, f"intercept is {intercept:g}; it is taken as 0")
    for form in ("qform", "sform"):
        code = int(header[f"{form}_code"])
        if code < 0:
            mend(f"{form}_code", 0, f"{form} code is {code}, which nobody knows; it is not used")
        elif code > _LAST_FORM_CODE:
            known = f"{form} code is {code}, which nobody knows; it is taken as 2 (aligned)"
            mend(f"{form}_code", 2, known)
    units = int(header["xyzt_units"])
    space, time = units & 7, units & 56
    if units > 63 or space > 3 or time == 56:
        kept = (space if space <= 3 else 0) | (time if time < 56 else 0)
        mend("xyzt_units", kept, f"code of units is {units}; taken as {kept}")
    return sound, warnings


def data_shape(header: Nifti1Header, path: Path) -> tuple[int, ...]:
    """Size of the data along each axis, without trailing axes of one beyond the fourth."""
    axes = int(header["dim"][0])
    shape = [int(n) for n in header["dim"][1 : axes + 1]] if 1 <= axes <= 7 else []
    if not shape or min(shape) < 1:
        stored = " × ".join(str(n) for n in header["dim"][1 : max(axes, 1) + 1])
        finding = f"its header gives the impossible size {stored} in {axes} dimensions"
        raise InputError(path, finding, "export or convert the series again")
    while len(shape) > 4 and shape[-1] == 1:
        shape.pop()
    return tuple(shape)


def data_type(header: Nifti1Header, path: Path) -> np.dtype[np.generic]:
    """Type of one stored value, in the file's byte order; refuses what is not one real number."""
    try:
        dtype: np.dtype[np.generic] = header.get_data_dtype()
    except (HeaderDataError, KeyError) as error:
        finding = f"its header names an unknown data type (code {int(header['datatype'])})"
        raise InputError(path, finding, "convert the series to int16 or float32") from error
    if dtype.fields is not None:
        finding = "its voxels are RGB colours, not signal"
        raise InputError(
            path, finding, "give the series as the scanner measured it, in grey values"
        )
    if dtype.kind == "c":
        remedy = "give the magnitude images"
        raise InputError(path, "its voxels are complex numbers", remedy)
    if dtype.kind not in "iuf":
        finding = f"its voxels are of type {dtype}, which holds no signal"
        raise InputError(path, finding, "convert the series to int16 or float32")
    return dtype


def scaling(header: Nifti1Header) -> tuple[float, float]:
    """Slope and intercept that turn stored values into signal; (1, 0) where none are set."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not np.isfinite(slope) or slope == 0:
        return 1.0, 0.0
    return slope, intercept if np.isfinite(intercept) else 0.0


def grid_distance(affine_a: Float64, affine_b: Float64, shape: tuple[int, ...]) -> float:
    """How far apart two affines put the corners of a grid, at most, in voxels of the first."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape[:3]], [1.0])).reshape(4, -1)
    apart = np.linalg.norm(((affine_a - affine_b) @ corners)[:3], axis=0).max()
    return float(apart / np.linalg.norm(affine_a[:3, :3], axis=0).min())


def _sound(affine: Float64) -> bool:
    """Whether an affine is finite, not too far away, and spans all of space."""
    if not np.isfinite(affine).all() or abs(affine[:3, 3]).max() > _FARTHEST_ORIGIN:
        return False
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    # a shear of 87° leaves 0.05 of the volume; no scanner comes near
    return bool((sizes > 0).all() and abs(np.linalg.det(affine[:3, :3])) > 0.05 * sizes.prod())


def _quaternion_affine(header: Nifti1Header, sizes: Float64) -> Float64 | None:
    copy = header.copy()
    copy["pixdim"][1:4] = sizes
    if copy["pixdim"][0] not in (-1, 1):  # the standard reads 0 as 1
        copy["pixdim"][0] = 1
    try:
        affine = np.asarray(copy.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError):
        return None
    return affine if _sound(affine) else None


def world_affine(
    header: Nifti1Header, shape: tuple[int, ...], path: Path
) -> tuple[Float64, Nifti1Header, list[str]]:
    """Where the voxels lie.

    Returns
    -------
    affine
        ``(4, 4)``, indices to RAS mm: the sform if it is set and usable, else the qform, else the
        voxel sizes alone.
    header
        The header, made to agree with the affine where it did not.
    warnings
        What was found and done, a sentence each.
    """
    warnings: list[str] = []
    repaired = False
    sizes = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    said = " × ".join(f"{size:g}" for size in sizes)
    usable_sizes = bool(np.isfinite(sizes).all() and (sizes != 0).all())
    coded_s, coded_q = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    sform = np.asarray(header.get_sform(), dtype=np.float64) if coded_s else None
    if sform is not None and not _sound(sform):
        sform = None
    qform = _quaternion_affine(header, abs(sizes)) if coded_q and usable_sizes else None

    if sform is None and not usable_sizes:
        finding = f"its header gives voxels of {said} mm"
        raise InputError(path, finding, "set the voxel sizes or the sform in the header")
    if sform is None and qform is None and (coded_s or coded_q):
        finding = "the affine in its header is singular, or its origin too far away"
        raise InputError(path, finding, "set a usable sform or qform in the header")
    if not usable_sizes or (sizes < 0).any():
        source = "sform's are used" if sform is not None else "sign is ignored"
        warnings.append(f"The header gives voxels of {said} mm; the {source}.")
        repaired = True
    if sform is not None:
        affine = sform
        apart = 0.0 if qform is None else grid_distance(sform, qform, shape)
        if coded_q and qform is None and usable_sizes:
            warnings.append("The qform is unusable; the sform is used, and written to both.")
            repaired = True
        if apart > SAME_GRID_VOXELS:
            warnings.append(
                f"The sform and the qform disagree by up to {apart:.1f} voxels;"
                " the sform is used, and written to both."
            )
            repaired = True
    elif qform is not None:
        affine = qform
        if coded_s:
            warnings.append("The sform is unusable; the qform is used, and written to both.")
            repaired = True
    else:
        affine = _centered(header, abs(sizes), shape)
        warnings.append(
            "The header has no orientation (sform and qform codes are 0); x is taken to run from"
            " right to left, and the middle of the grid as origin."
        )

    affine, converted, said_units = _in_millimetres(header, affine, path)
    return affine, _agreeing(header, affine, repaired, converted), warnings + said_units


def _centered(header: Nifti1Header, sizes: Float64, shape: tuple[int, ...]) -> Float64:
    copy = header.copy()
    copy["pixdim"][1:4] = sizes
    copy.set_data_shape(shape)
    return np.asarray(copy.get_base_affine(), dtype=np.float64)


def _in_millimetres(
    header: Nifti1Header, affine: Float64, path: Path
) -> tuple[Float64, bool, list[str]]:
    """Convert an affine from the header's unit of length; refuse sizes no scanner makes."""
    factor = _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    unit = {1000.0: "metres", 0.001: "micrometres", 1.0: "millimetres"}[factor]
    stored = " × ".join(f"{size:.4g}" for size in sizes)

    def plausible(sizes: Float64) -> bool:
        return bool((sizes >= SMALLEST_VOXEL).all() and (sizes <= LARGEST_VOXEL).all())

    if plausible(sizes * factor):
        if factor == 1:
            return affine, False, []
        warning = f"Lengths in the header are in {unit}; they were converted to millimetres."
        return np.diag([factor, factor, factor, 1]) @ affine, True, [warning]
    if factor != 1 and plausible(sizes):
        warning = (
            f"The header says that lengths are in {unit}, but voxels of {stored} only make sense"
            " in millimetres; they are taken as such."
        )
        return affine, True, [warning]
    finding = (
        f"its voxels measure {stored} {unit}, beyond what can be"
        f" ({SMALLEST_VOXEL:g} to {LARGEST_VOXEL:g} mm)"
    )
    raise InputError(path, finding, "check the affine and the unit (xyzt_units) in the header")


def _agreeing(
    header: Nifti1Header, affine: Float64, repaired: bool, converted: bool
) -> Nifti1Header:
    """Make a header agree with an affine; untouched if it already does."""
    header = header.copy()
    if converted:
        header["xyzt_units"] = int(header["xyzt_units"]) & ~7 | 2
    if repaired or converted:
        header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
        if header["pixdim"][0] not in (-1, 1):
            header["pixdim"][0] = 1
        if header["sform_code"] > 0:
            header.set_sform(affine, int(header["sform_code"]))
        if header["qform_code"] > 0:
            header.set_qform(affine, int(header["qform_code"]))
    return header


def repetition_time(header: Nifti1Header) -> tuple[float | None, list[str]]:
    """Seconds from frame to frame, None if the header does not say; and warnings."""
    stored = float(header["pixdim"][4])
    if not np.isfinite(stored) or stored <= 0:
        return None, ["The header has no repetition time."]
    unit = int(header["xyzt_units"]) & 56
    if unit == 0 and stored == 1:  # what nibabel and others write where nobody told them
        return None, ["The header has no repetition time (1 without a unit)."]
    seconds = stored * _SECONDS_PER_UNIT.get(unit, 1.0)
    if seconds > SLOWEST_TR * (1 if unit in _SECONDS_PER_UNIT else 1000):
        return None, [f"A repetition time of {seconds:g} s, as the header has it, cannot be."]
    if unit in _SECONDS_PER_UNIT or seconds <= LONGEST_TR:
        return seconds, []
    warning = f"A repetition time of {stored:g} s is taken to be milliseconds."
    return stored / 1000, [warning]
