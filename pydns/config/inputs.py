"""The inputs of a live configuration: a ConfigMap of the API, the folder of a mounted one, or one file.

Octets in, values out. The watchers of the API server and of files call this. What texts mean is in `read`.
"""

from collections.abc import Collection, Mapping

from pydns.config import document, kube_dns, node
from pydns.config.document import MAX_TEXT
from pydns.config.mistakes import ConfigError
from pydns.config.node import Scalar
from pydns.config.read import YAML_KEY, Accepted, Refused, read, read_text
from pydns.config.shapes import found, found_key

KEYS = (YAML_KEY, *kube_dns.KEYS)  # the files of a folder that are read; of other files only the name is used
MAX_OCTETS = 4 * MAX_TEXT  # of a file; a longer one can't be a text of the allowed length


def read_config_map(data: Mapping[str, str], binary: Collection[str] = ()) -> Accepted | Refused:
    """Read a ConfigMap's texts. `binary` are the keys whose values aren't texts."""
    errors = [_not_text(key) for key in KEYS if key in binary]
    result = read({**dict.fromkeys(binary, ""), **data})
    if errors:
        return Refused((*errors, *(result.errors if isinstance(result, Refused) else ())))
    return result


def read_folder(files: Mapping[str, bytes]) -> Accepted | Refused:
    """Read the files of a folder, by name, as the keys of a ConfigMap. No files mean the defaults."""
    texts = {name: _text(raw) for name, raw in files.items()}
    binary = [name for name, text in texts.items() if text is None]
    return read_config_map({name: text for name, text in texts.items() if text is not None}, binary)


def read_file(source: str, raw: bytes) -> Accepted | Refused:
    """Read a file in the form of `config.yaml`, or the manifest of a ConfigMap. Errors begin with `source`."""
    text = _text(raw)
    if text is None:
        return Refused((_not_text(source),))
    root = document.from_yaml(source, text)
    if isinstance(root, node.Mapping) and any(
        isinstance(key, Scalar) and key.value == "kind" and isinstance(value, Scalar) and value.value == "ConfigMap"
        for key, value in root.entries
    ):
        return _read_manifest(source, root)
    return read_text(source, text)


def _read_manifest(source: str, manifest: node.Mapping) -> Accepted | Refused:
    data: dict[str, str] = {}
    binary: list[str] = []
    errors: list[ConfigError] = []
    for section, value in manifest.entries:
        section_name = section.text if isinstance(section, Scalar) else ""
        if section_name not in ("data", "binaryData") or (isinstance(value, Scalar) and value.value is None):
            continue
        if not isinstance(value, node.Mapping):
            errors.append(ConfigError(f"{source}:{value.line}: {section_name}", found(value), "a mapping of texts"))
            continue
        for key, text in value.entries:
            if section_name == "binaryData":
                binary.append(key.text if isinstance(key, Scalar) else "")
            elif isinstance(key, Scalar) and isinstance(text, Scalar) and isinstance(text.value, str):
                data[key.text] = text.value
            else:
                errors.append(ConfigError(f"{source}:{key.line}: data[{found_key(key)}]", found(text), "a text"))
    result = read_config_map(data, binary)
    if errors:
        return Refused((*errors, *(result.errors if isinstance(result, Refused) else ())))
    return result


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _not_text(where: str) -> ConfigError:
    return ConfigError(where, "the content", "text in UTF-8")
