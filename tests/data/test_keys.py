from __future__ import annotations

import pickle

import pytest
from jsonargparse.typing import SecretStr

from yolo.data.keys import VARIABLE, EncryptionKey, find_key, require_key
from yolo.errors import UserError
from yolo.options import make_parser

HEX = "00112233445566778899aabbccddeeff" * 2


def test_the_option_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "ff" * 32)
    assert find_key(SecretStr(HEX)) == EncryptionKey(bytes.fromhex(HEX))
    assert find_key() == EncryptionKey(b"\xff" * 32)
    assert find_key(str(SecretStr(HEX))) == EncryptionKey(b"\xff" * 32), "a saved config holds a mask"


def test_the_masked_key_of_a_saved_config_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, HEX)
    parser = make_parser("x", "")
    parser.add_argument("--key", type=SecretStr)
    masked = parser.parse_args([f"--key={SecretStr('secret')}"]).key
    assert find_key(masked) == EncryptionKey(bytes.fromhex(HEX))


def test_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert find_key() is None
    with pytest.raises(UserError, match=r"a\.lmdb is encrypted, and there is no key: set YOLO_ENCRYPTION_KEY"):
        require_key("a.lmdb is encrypted")
    for option, end in ((None, "digits)"), ("data.encryption_key", "digits) or data.encryption_key")):
        with pytest.raises(UserError) as refused:
            require_key("a.lmdb is encrypted", option=option)
        assert str(refused.value).endswith(end)


@pytest.mark.parametrize("bad", ["ab", HEX[:-1], HEX + "0", "zz" * 32, " " + HEX[:-2] + " "])
def test_a_malformed_key_is_refused_and_not_quoted(bad: str) -> None:
    with pytest.raises(UserError, match=r"data\.encryption_key: a key has 64 hexadecimal digits") as refused:
        find_key(bad)
    assert bad.strip() not in str(refused.value)


def test_purposes_and_salts_give_different_keys() -> None:
    key = EncryptionKey(bytes(32))
    derived = [key.derive(b"a"), key.derive(b"b"), key.derive(b"a", b"salt"), key.derive(b"a", b"pepper")]
    assert len(set(derived)) == 4
    assert key.derive(b"a") == derived[0]
    assert all(len(one) == 32 for one in derived)


def test_hkdf_of_rfc_5869() -> None:
    """Test case 1 of the RFC has a key of 22 bytes; the first 32 bytes of its 42."""
    key = EncryptionKey(b"\x0b" * 22)
    expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
    assert key.derive(bytes.fromhex("f0f1f2f3f4f5f6f7f8f9"), bytes(range(13))).hex() == expected


def test_no_printed_form_shows_the_key() -> None:
    key = find_key(HEX)
    assert HEX[:8] not in repr(key) + str(key)
    assert pickle.loads(pickle.dumps(key)) == key


def test_a_key_that_yaml_reads_as_a_number() -> None:
    with pytest.raises(UserError, match="write it in quotes"):
        find_key(SecretStr(int("1" * 64)))  # type: ignore[arg-type]
