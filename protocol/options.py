"""``key=value`` options turned into a factory's arguments, by the factory's own annotations."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

from dojobench.protocol.errors import BadInputError

_NONE = ("none", "null", "")


def parse_pairs(pairs: Sequence[str]) -> dict[str, str]:
    """Splits ``key=value`` words.

    Raises:
        BadInputError: If a word has no ``=``, or a key stands twice.
    """
    options: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise BadInputError(f"{pair!r} is no option; write KEY=VALUE, such as radius=2")
        if key in options:
            raise BadInputError(f"the option {key} is given twice; give it once")
        options[key] = value
    return options


def bind_options(
    factory: Callable[..., Any], options: Mapping[str, str], *, who: str
) -> dict[str, Any]:
    """Converts options to keyword arguments of a factory.

    ``int``, ``float``, ``bool``, ``str``, ``Path``, ``Literal`` and unions of them with ``None``
    (written ``none``) are understood; a parameter without an annotation follows its default.

    Args:
        factory: Whatever makes the model.
        options: By parameter name.
        who: The model as its user named it, for messages.

    Raises:
        BadInputError: If an option is unknown (with the nearest known one), is missing or does
            not convert.
    """
    try:
        parameters = inspect.signature(factory, eval_str=True).parameters
    except NameError as error:
        raise BadInputError(f"{who} has an annotation that cannot be read: {error}") from error
    except (TypeError, ValueError):
        return dict(options)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known = {name: p for name, p in parameters.items() if p.kind in by_name}
    arguments: dict[str, Any] = {}
    for key, text in options.items():
        if key in known:
            arguments[key] = _convert(text, _annotation(known[key]), key, who)
        elif takes_any:
            arguments[key] = text
        else:
            raise BadInputError(_unknown(key, list(known), who))
    needed = [n for n, p in known.items() if p.default is p.empty and n not in arguments]
    if needed:
        raise BadInputError(f"{who} needs the option {needed[0]}; add {needed[0]}=VALUE")
    return arguments


def _unknown(key: str, known: list[str], who: str) -> str:
    if not known:
        return f"{who} takes no options, and {key} is given"
    near = get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}" if near else f"it takes {', '.join(known)}"
    return f"{who} has no option {key}; {hint}"


def _annotation(parameter: inspect.Parameter) -> Any:
    if parameter.annotation is not parameter.empty:
        return parameter.annotation
    if parameter.default is parameter.empty or parameter.default is None:
        return str
    return type(parameter.default)


def _convert(text: str, annotation: Any, key: str, who: str) -> Any:
    choices = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()
    if NoneType in choices and text.lower() in _NONE:
        return None
    for choice in choices or (annotation,):
        if get_origin(choice) is Literal:
            for value in get_args(choice):
                if text == str(value):
                    return value
    try:
        return TypeAdapter(annotation).validate_python(text)
    except PydanticSchemaGenerationError as error:
        raise BadInputError(
            f"{who} has the option {key} of a type that no text gives ({annotation}); leave it out"
        ) from error
    except ValidationError as error:
        raise BadInputError(f"{who} takes {key}={_name(annotation)}, not {text!r}") from error


def _name(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(str(value) for value in get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(_name(choice) for choice in get_args(annotation))
    return "none" if annotation is NoneType else str(getattr(annotation, "__name__", annotation))
