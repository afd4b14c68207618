"""What there is to know about each dataset, in one table."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Archive:
    """A dataset's download: what the official page offers and how to know it again.

    `digest` is that of the file, in hex, by an algorithm of `hashlib`.
    """

    url: str
    file_name: str
    digest: str
    num_bytes: int
    algorithm: str = "sha256"


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset and the defaults of runs on it.

    Args:
        name: as on the command line.
        reader: the module of `dataset.readers` that reads it.
        side: height and width of the images in pixels.
        num_classes: number of classes; labels are 0 … num_classes−1.
        mean, std: per channel (red, green, blue), of pixels in [0, 1].
        clean_folder: where the images lie inside the data directory; None: they are drawn.
        corrupted_folder: where their corrupted versions lie inside the data directory.
        archive: the official download; None: there is none.
        published: the download of the published corrupted test images; None: there is none.
        variant: strengths of the corruptions, see `corruptions`.
        jpeg_quality: of the JPEG file that corrupted images go through, as published; None: none.
        num_per_class: default number of training images per class.
        model, depth, widen_factor: default network; the latter two are a wideresnet's.
        num_train, num_test: number of images that it is said to have.
        labels_tell_order: whether matching labels show that corrupted images are in the order of
            the clean ones; if not, arrays that were made elsewhere are refused.
        class_names: the classes' names in label order; empty: they have none here.
        photograph_folders: for a dataset of photographs, `FOLDER/<class>/*`, the names that each
            split's folder may have.
        decoded_folder: where these lie inside the data directory once they are decoded.
        has_lists: whether lists may say which image gets which severity, see `dataset.filelists`.
        is_own: whether it is what the user has put into the data directory, see `spec_of`.
    """

    name: str
    reader: str
    side: int
    num_classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    clean_folder: str | None
    corrupted_folder: str
    archive: Archive | None
    variant: str
    jpeg_quality: int | None
    num_per_class: int
    model: str
    depth: int
    widen_factor: int
    num_train: int
    num_test: int
    labels_tell_order: bool
    class_names: tuple[str, ...] = ()
    photograph_folders: dict[str, tuple[str, ...]] = field(default_factory=dict)
    decoded_folder: str | None = None
    published: Archive | None = None
    has_lists: bool = False
    is_own: bool = False


SYNTHETIC = DatasetSpec(
    name="synthetic",
    reader="synthetic",
    side=32,
    num_classes=10,
    mean=(0.4553, 0.4552, 0.4508),
    std=(0.1916, 0.1911, 0.1916),
    clean_folder=None,
    # The number goes up whenever the drawing changes, so that corrupted versions of older
    # drawings are never taken for versions of the new ones.
    corrupted_folder="synthetic-1-C",
    archive=None,
    variant="cifar",
    jpeg_quality=None,
    num_per_class=400,
    model="wideresnet",
    depth=10,
    widen_factor=1,
    num_train=5_000,
    num_test=1_000,
    labels_tell_order=True,
)


def _zenodo(record: int, file_name: str, md5: str, num_bytes: int) -> Archive:
    """A file of a record; MD5 is what Zenodo gives."""
    url = f"https://zenodo.org/records/{record}/files/{file_name}?download=1"
    return Archive(url, file_name, md5, num_bytes, algorithm="md5")


CIFAR10 = DatasetSpec(
    name="cifar10",
    reader="cifar",
    side=32,
    num_classes=10,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2471, 0.2435, 0.2616),
    clean_folder="cifar-10-batches-py",
    corrupted_folder="CIFAR-10-C",
    archive=Archive(
        url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        file_name="cifar-10-python.tar.gz",
        digest="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        num_bytes=170_498_071,
    ),
    variant="cifar",
    jpeg_quality=None,
    num_per_class=4000,
    model="wideresnet",
    depth=28,
    widen_factor=2,
    num_train=50_000,
    num_test=10_000,
    labels_tell_order=True,
    published=_zenodo(2535967, "CIFAR-10-C.tar", "56bf5dcef84df0e2308c6dcbcbbd8499", 2_918_471_680),
)

CIFAR100 = DatasetSpec(
    name="cifar100",
    reader="cifar",
    side=32,
    num_classes=100,
    mean=(0.5071, 0.4867, 0.4408),
    std=(0.2675, 0.2565, 0.2761),
    clean_folder="cifar-100-python",
    corrupted_folder="CIFAR-100-C",
    archive=Archive(
        url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        file_name="cifar-100-python.tar.gz",
        digest="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        num_bytes=169_001_437,
    ),
    variant="cifar",
    jpeg_quality=None,
    num_per_class=400,
    model="wideresnet",
    depth=28,
    widen_factor=2,
    num_train=50_000,
    num_test=10_000,
    labels_tell_order=True,
    published=_zenodo(
        3555552, "CIFAR-100-C.tar", "11f0ed0f1191edbf9fa23466ae6021d3", 2_918_473_216
    ),
)

_IMAGENET30_CLASSES = """
    acorn airliner ambulance american_alligator banjo barn bikini digital_clock dragonfly dumbbell
    forklift goblet grand_piano hotdog hourglass manhole_cover mosque nail parking_meter pillow
    revolver rotary_dial_telephone schooner snowmobile soccer_ball stingray strawberry tank toaster
    volcano
"""

IMAGENET30 = DatasetSpec(
    name="imagenet30",
    reader="photographs",
    side=64,
    num_classes=30,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    clean_folder="ImageNet-30",
    corrupted_folder="ImageNet-30-64-C",
    archive=None,
    variant="imagenet64",
    jpeg_quality=85,
    num_per_class=1000,
    model="resnet50",
    depth=28,
    widen_factor=2,
    num_train=39_000,
    num_test=3_000,
    labels_tell_order=False,  # they are sorted by class
    class_names=tuple(_IMAGENET30_CLASSES.split()),
    # As the data directory of most projects has them, and as the published archives unpack.
    photograph_folders={"train": ("train", "one_class_train"), "test": ("test", "one_class_test")},
    decoded_folder="ImageNet-30-64",
    has_lists=True,
)

# The user's own: photographs in a folder per class, or arrays.
FOLDER, ARRAYS = "folder", "arrays"
OWN = (FOLDER, ARRAYS)
# In pixels; the corruptions need the least.
MIN_SIDE, DEFAULT_SIDE, MAX_SIDE = 8, 64, 1024

DATASETS = {spec.name: spec for spec in (SYNTHETIC, CIFAR10, CIFAR100, IMAGENET30)}


def spec_of(
    name: str, side: int | None = None, class_names: tuple[str, ...] | None = None
) -> DatasetSpec:
    """A dataset by its name; of the user's own data also by what was found there.

    Args:
        name: one of `DATASETS` or `OWN`.
        side: of the images in pixels; for the user's own data alone.
        class_names: in label order; for the user's own data alone.

    Raises:
        KeyError: there is no dataset of this name.
    """
    if name not in OWN:
        return DATASETS[name]
    is_small, is_folder = side <= CIFAR10.side, name == FOLDER
    variant = "cifar" if side == CIFAR10.side else "imagenet64"
    place = f"decoded-{side}" if is_folder else "arrays"
    return DatasetSpec(
        name=name,
        reader="photographs" if is_folder else "arrays",
        side=side,
        num_classes=len(class_names),
        mean=IMAGENET30.mean,
        std=IMAGENET30.std,
        clean_folder=".",
        corrupted_folder=f"{place}-C",
        archive=None,
        variant=variant,
        jpeg_quality=IMAGENET30.jpeg_quality if variant == IMAGENET30.variant else None,
        num_per_class=0,  # see `dataset.own_data`
        model=CIFAR10.model if is_small else IMAGENET30.model,
        depth=CIFAR10.depth,
        widen_factor=CIFAR10.widen_factor,
        num_train=0,
        num_test=0,
        labels_tell_order=False,
        class_names=tuple(class_names),
        photograph_folders={"train": ("train",), "test": ("test",)} if is_folder else {},
        decoded_folder=place if is_folder else None,
        is_own=True,
    )
