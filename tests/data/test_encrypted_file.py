from __future__ import annotations

import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from yolo.data.encrypted_file import MAGIC, ImageCipher, is_old
from yolo.data.keys import EncryptionKey
from yolo.errors import UserError

SECRET = bytes(range(32))
CIPHER = ImageCipher(EncryptionKey(SECRET))
OTHER = ImageCipher(EncryptionKey(b"\x55" * 32))
IMAGE = os.urandom(999)
PATH = Path("some/a.jpg.enc")


def old(image: bytes, secret: bytes = SECRET) -> bytes:
    """What older programs wrote."""
    iv, padder = os.urandom(16), PKCS7(128).padder()
    encryptor = Cipher(AES256(secret), CBC(iv)).encryptor()
    return iv + encryptor.update(padder.update(image) + padder.finalize()) + encryptor.finalize()


def refusal(content: bytes, cipher: ImageCipher = CIPHER) -> str:
    with pytest.raises(UserError, match=re.escape(f"{PATH}: ")) as refused:
        cipher.decrypt(content, PATH)
    return str(refused.value)


@pytest.mark.parametrize("image", [b"", b"x", IMAGE])
def test_round_trip(image: bytes) -> None:
    content = CIPHER.encrypt(image)
    assert content.startswith(MAGIC)
    assert CIPHER.decrypt(content, PATH) == image
    assert pickle.loads(pickle.dumps(CIPHER)).decrypt(content, PATH) == image


def test_no_two_files_are_alike() -> None:
    assert len({CIPHER.encrypt(IMAGE)[17:29] for _ in range(100)}) == 100


def test_every_single_bit_counts() -> None:
    content = bytearray(CIPHER.encrypt(b"short"))
    for bit in range(8 * len(content)):
        content[bit // 8] ^= 1 << bit % 8
        sentence = refusal(bytes(content))
        assert "another key" not in sentence or bit < 8 * len(MAGIC)  # without the magic it can only be of the old kind
        content[bit // 8] ^= 1 << bit % 8


def test_300_random_bits_of_an_image() -> None:
    content = bytearray(CIPHER.encrypt(IMAGE))
    for bit in np.random.default_rng(0).choice(8 * len(content), 300, replace=False):
        content[bit // 8] ^= 1 << int(bit) % 8
        refusal(bytes(content))
        content[bit // 8] ^= 1 << int(bit) % 8


def test_truncated_or_prolonged() -> None:
    content = CIPHER.encrypt(IMAGE)
    for length in range(len(content)):
        refusal(content[:length])
    refusal(content + b"\0")
    assert refusal(b"") == f"{PATH}: an empty file, expected an encrypted image"
    assert "truncated" in refusal(content[:40])


def test_another_key_is_told_from_damage() -> None:
    content = CIPHER.encrypt(IMAGE)
    assert refusal(content, OTHER) == f"{PATH}: encrypted with another key"
    assert refusal(content[:-1] + bytes([content[-1] ^ 1])) == f"{PATH}: damaged or changed since it was encrypted"


def test_a_later_version_is_refused() -> None:
    content = bytearray(CIPHER.encrypt(IMAGE))
    content[8] = 2
    assert "version 2, expected 1" in refusal(bytes(content))


def test_reads_the_old_layout() -> None:
    for length in (1, 15, 16, 17, 999):
        content = old(IMAGE[:length])
        assert is_old(content)
        assert CIPHER.decrypt(content, PATH) == IMAGE[:length]


def test_damage_of_the_old_layout() -> None:
    content = old(IMAGE)
    assert "neither begin as an encrypted image" in refusal(content[:-1])
    assert "neither begin" in refusal(b"no image at all")
    sentences = set()
    for _ in range(20):  # one in 256 passes here, and then holds no image
        try:
            CIPHER.decrypt(old(IMAGE, bytes(32)), PATH)
        except UserError as error:
            sentences.add(str(error))
    assert sentences == {f"{PATH}: encrypted with another key, or damaged (old layout, AES-256-CBC)"}


def test_nothing_printed_shows_the_key() -> None:
    shown = repr(CIPHER) + str(CIPHER) + repr(CIPHER.key)
    assert SECRET.hex() not in shown
    assert repr(SECRET)[2:-1] not in shown
