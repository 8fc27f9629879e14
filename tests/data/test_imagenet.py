import pytest

from ctxvision.data import load_data
from ctxvision.data.training_check import refused_labels
from ctxvision.errors import InputError
from tests.data.layouts import LABELS, SYNSETS, picture, write, write_imagenet


def test_synset_folders_flat_val_and_terms(tmp_path):
    manifest = load_data(write_imagenet(tmp_path))
    train, test = manifest.split("train"), manifest.split("test")
    of_synset = {synset: LABELS[colour] for colour, (synset, _) in SYNSETS.items()}
    assert [labels[0] for labels in train.labels] == [of_synset[path.split("/")[-2]] for path in train.paths]
    assert len(train) == 32 and len(test) == 12
    assert [labels[0] for labels in test.labels] == [LABELS[colour] for colour in SYNSETS for _ in range(3)]
    assert manifest.label_terms["blue jay"] == ["blue jay", "jaybird"]
    assert "crane (n00000002)" in manifest.label_terms  # the first term of two synsets
    assert [query.text for query in manifest.split("web").queries[-1]] == ["lemon", "citrus limon"]
    assert not refused_labels(manifest)


def test_a_flat_val_may_hold_hidden_folders_and_a_link_to_itself(tmp_path):
    write_imagenet(tmp_path)
    (val,) = tmp_path.glob("ILSVRC/Data/CLS-LOC/val")
    (val / ".ipynb_checkpoints").mkdir()
    (val / "loop").symlink_to("loop")
    assert len(load_data(f"imagenet:{tmp_path}").split("test")) == 12


def test_synset_folders_in_val_and_no_kaggle_folders(tmp_path):
    write_imagenet(tmp_path)
    inner = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
    for path in (inner / "val").iterdir():
        path.unlink()
    write(inner / "val" / "n00000004" / "ILSVRC2012_val_00000007.JPEG", picture("yellow", 7))
    (tmp_path / "LOC_synset_mapping.txt").rename(inner / "LOC_synset_mapping.txt")
    test = load_data(f"imagenet:{inner}").split("test")
    assert test.labels == [("lemon",)]


def test_bad_input(tmp_path):
    with pytest.raises(InputError, match="imagenet: must name a folder with train/SYNSET/"):
        load_data(f"imagenet:{tmp_path}")
    source = write_imagenet(tmp_path)
    (tmp_path / "LOC_val_solution.csv").unlink()
    with pytest.raises(InputError, match="imagenet: needs LOC_val_solution.csv in .*, which does not exist"):
        load_data(source)
    write_imagenet(tmp_path)
    write(tmp_path / "LOC_synset_mapping.txt", "n00000001 crane\n")
    with pytest.raises(InputError, match="must have a line for every synset, got none for 'n00000002'"):
        load_data(source)
