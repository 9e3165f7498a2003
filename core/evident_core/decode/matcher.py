"""JSON schemas, regular expressions and Lark grammars, compiled by ``llguidance``: the one place that knows it."""

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from evident_core.decode import json_schema, samples
from evident_core.decode.endings import Alphabet, Hints, shortest_end
from evident_core.decode.grammar import Constraint, Grammar, mask_words, must_have_end
from evident_core.decode.known_ends import KnownEnds
from evident_core.decode.tokenizer import Tokenizer
from evident_core.errors import InvalidInput, MissingExtra, ResourceExceeded

if TYPE_CHECKING:
    import llguidance

_CACHED_GRAMMARS: Final = 128
_FAR: Final = 4096  # tokens; the shortest text of a grammar is looked for up to here
# The compiler recurses through chains of references and rules; measured at 8 KiB a link, and a link takes 4 characters.
_STACK_PER_CHARACTER: Final = 2048
_STACK: Final = 16 << 20

ResultT = TypeVar("ResultT")


class _Compiled:
    """A grammar made for one tokenizer."""

    def __init__(self, matcher: "llguidance.LLMatcher", compiler: "Compiler", grammar: Grammar) -> None:
        self.matcher, self.compiler = matcher, compiler
        self._grammar = grammar
        is_json = grammar.kind == "json_schema"
        self.margin = json_schema.largest_part(json.loads(grammar.source)) if is_json else 0
        self._hints = Hints.of(grammar.source, is_json=is_json)
        self._lock = threading.RLock()
        self._shortest: dict[bool, list[int] | None] = {}

    def shortest(self, *, thorough: bool) -> list[int] | None:
        """The shortest whole text that was found; the same for every text, so looked for once."""
        with self._lock:
            if thorough not in self._shortest:
                hints = self._sampled if thorough else self._hints
                start = _MatcherConstraint(self, self.matcher.deep_copy())
                self._shortest[thorough] = shortest_end(start, self.compiler.alphabet, hints, _FAR, thorough=thorough)
            return self._shortest[thorough]

    @cached_property
    def known_ends(self) -> KnownEnds:
        """Those of the shortest text's places."""
        known = KnownEnds(self.compiler.alphabet)
        if shortest := self.shortest(thorough=False) or self.shortest(thorough=True):
            known.add(shortest)
        return known

    def end(self, constraint: Constraint, limit: int, *, thorough: bool) -> list[int] | None:
        """The shortest end found of a text; the same whatever other texts there were."""
        hints = self._sampled if thorough or self.shortest(thorough=False) is None else self._hints
        return shortest_end(constraint, self.compiler.alphabet, hints, limit, thorough=thorough)

    @cached_property
    def _sampled(self) -> Hints:
        """Hints with the shortest texts of the grammar's expressions, which take tens of milliseconds to find."""
        found: list[list[int]] = []
        for pattern in samples.patterns(self._grammar.kind, self._grammar.source):
            text = self.compiler.shortest_match(pattern)
            found += map(self.compiler.encode, samples.endings(text or ""))
        return replace(self._hints, samples=tuple(sorted(dict.fromkeys(map(tuple, found)), key=len)))


class Compiler:
    """What is made once for a tokenizer: its trie, shared by all grammars, and the grammars used last."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.ends = must_have_end(tokenizer)
        self.pieces = tokenizer.token_bytes
        self.words = mask_words(tokenizer.vocab_size)
        self.vocab_size = tokenizer.vocab_size
        self._description = tokenizer.backend.to_str
        self._trie: llguidance.LLTokenizer | None = None
        self._grammars: OrderedDict[Grammar, Any] = OrderedDict()
        self._lock = threading.Lock()

    @cached_property
    def alphabet(self) -> Alphabet:
        """The tokens by what they are good for in ending a text."""
        return Alphabet(self.pieces, self.ends)

    def once(self, grammar: Grammar, make: Callable[[], ResultT]) -> ResultT:
        """What ``make`` gave for this grammar, made at the first call."""
        with self._lock:
            if grammar in self._grammars:
                self._grammars.move_to_end(grammar)
                found: ResultT = self._grammars[grammar]
                return found
        made = make()
        with self._lock:
            self._grammars[grammar] = made
            while len(self._grammars) > _CACHED_GRAMMARS:
                self._grammars.popitem(last=False)
        return made

    def constraint(self, grammar: Grammar) -> "_MatcherConstraint":
        """What keeps one text to a grammar; see :meth:`Grammar.constraint`."""
        compiled = self.once(grammar, lambda: _Compiled(_on_deep_stack(grammar, self._compile), self, grammar))
        return _MatcherConstraint(compiled, compiled.matcher.deep_copy())

    def forget(self, compiled: _Compiled) -> None:
        """Compile a grammar anew next time: what its texts share may be used up."""
        with self._lock:
            for grammar in [grammar for grammar, made in self._grammars.items() if made is compiled]:
                del self._grammars[grammar]

    def shortest_match(self, pattern: str) -> str | None:
        """The shortest text that a regular expression matches."""
        return samples.shortest_match(pattern, lambda source: self._matcher("lark", source), self.pieces, self.ends)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text that continues another one."""
        with self._lock:
            return [] if self._trie is None else self._trie.tokenize_str(text)

    def _matcher(self, kind: str, source: str) -> "llguidance.LLMatcher":
        library = _llguidance()
        with self._lock:
            if self._trie is None:
                self._trie = library.LLTokenizer(
                    self._description(), n_vocab=self.vocab_size, eos_token=list(self.ends)
                )
            trie = self._trie
        limits = library.LLParserLimits(verbose_errors=False)  # else an error quotes the whole state
        matcher: llguidance.LLMatcher = library.LLMatcher(
            trie, _SOURCES[kind](library.LLMatcher, source), log_level=0, limits=limits
        )
        return matcher

    def _compile(self, grammar: Grammar) -> "llguidance.LLMatcher":
        try:
            matcher = self._matcher(grammar.kind, grammar.source)
        except (UnicodeEncodeError, ValueError) as error:
            raise InvalidInput(f"The {_NAMES[grammar.kind]} cannot be read: {error}") from error
        if matcher.is_error():
            reason = matcher.get_error()
            place = None
            if grammar.kind == "json_schema":
                place = json_schema.locate(
                    json.loads(grammar.source),
                    reason,
                    lambda part: self._matcher("json_schema", json.dumps(part)).get_error(),
                )
            raise _refusal(grammar, reason, place)
        trial = matcher.deep_copy()
        trial.compute_bitmask()
        if trial.is_error():
            raise InvalidInput(f"The {_NAMES[grammar.kind]} matches no text at all.")
        return matcher


class _MatcherConstraint:
    """A constraint kept by llguidance."""

    __slots__ = ("_compiled", "_ended", "_forced", "_found", "_fresh", "_matcher", "_words", "ends")

    def __init__(self, compiled: _Compiled, matcher: "llguidance.LLMatcher", found: KnownEnds | None = None) -> None:
        self._compiled, self._matcher = compiled, matcher
        # Of this text, and of its copies.
        self._found = KnownEnds(compiled.compiler.alphabet) if found is None else found
        self._forced: list[int] | None = None
        self._fresh, self._ended = True, False
        self._words, self.ends = compiled.compiler.words, compiled.compiler.ends

    def fill_mask(self, row: NDArray[np.int32]) -> None:
        words = self._words
        if row.size != words:
            row[words:] = 0
            row = row[:words]
        self._matcher.unsafe_compute_mask_ptr(row.ctypes.data, words * 4)
        if self._matcher.is_error():
            raise self._failure()

    def accept(self, token: int) -> None:
        is_end = token in self.ends
        if not self._ended and is_end and self.complete:
            self._ended = True  # the matcher refuses an end after which nothing could have come anyway
        elif self._ended or is_end or not self._knows(token) or self._matcher.try_consume_tokens([token]) != 1:
            if self._matcher.is_error():
                raise self._failure()
            raise InvalidInput(f"The grammar does not allow token {token} here.", token=token)
        self._fresh, self._forced = False, None

    def advance(self, tokens: Sequence[int]) -> bool:
        span = list(tokens)
        if (
            self._ended
            or not all(map(self._knows, span))
            or (len(span) > 1 and self._matcher.validate_tokens(span) != len(span))
        ):
            return not span
        advanced = self._matcher.try_consume_tokens(span) == len(span)
        if advanced and span:
            self._fresh, self._forced = False, None
        return advanced

    def forced(self) -> list[int]:
        if self._forced is None:
            tokens = self._matcher.compute_ff_tokens()
            self._forced = tokens[: tokens.index(self.ends[0])] if self.ends[0] in tokens else tokens
        return list(self._forced)

    @property
    def margin(self) -> int:
        return self._compiled.margin

    @property
    def complete(self) -> bool:
        return self._matcher.is_accepting()

    @property
    def stopped(self) -> bool:
        return self._ended or self._matcher.is_stopped()

    def closing(self, limit: int, *, thorough: bool = False) -> list[int] | None:
        if self._fresh and limit <= _FAR:
            shortest = self._compiled.shortest(thorough=thorough)
            return None if shortest is None or len(shortest) > limit else list(shortest)
        if not thorough:
            # One that does not fit is an answer too: a search would take long to find none that is much shorter.
            for known in (self._compiled.known_ends, self._found):
                if (end := known.find(self, _FAR)) is not None:
                    return end if len(end) <= limit else None
        end = self._compiled.end(self, limit, thorough=thorough)
        if end is not None:
            self._found.add(end)
        return end

    def closes(self, tokens: Sequence[int]) -> bool:
        if not tokens:
            return self.complete
        return self._matcher.validate_tokens([*tokens, self.ends[0]]) == len(tokens) + 1

    def copy(self) -> "_MatcherConstraint":
        copied = _MatcherConstraint(self._compiled, self._matcher.deep_copy(), self._found)
        copied._fresh, copied._ended, copied._forced = self._fresh, self._ended, self._forced
        return copied

    def _knows(self, token: int) -> bool:
        return 0 <= token < self._compiled.compiler.vocab_size  # any other breaks the matcher for good

    def _failure(self) -> ResourceExceeded:
        self._compiled.compiler.forget(self._compiled)
        reason = self._matcher.get_error().partition("\n")[0]
        return ResourceExceeded(
            f"The grammar is too much for its parser at this place of the text ({reason}); make it simpler."
        )


_NAMES: Final[dict[str, str]] = {"json_schema": "JSON schema", "regex": "regular expression", "lark": "Lark grammar"}
# Whitespace between JSON's tokens is the model's to pad with, so there is none.
_JSON: Final[dict[str, Any]] = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
_SOURCES: Final[dict[str, Callable[[Any, str], str]]] = {
    "json_schema": lambda matcher, source: str(matcher.grammar_from_json_schema(source, overrides=_JSON)),
    "regex": lambda matcher, source: str(matcher.grammar_from_regex(source)),
    "lark": lambda matcher, source: str(matcher.grammar_from_lark(source)),
}

_compilers: "WeakKeyDictionary[Tokenizer, Compiler]" = WeakKeyDictionary()
_lock_of_compilers = threading.Lock()
_stack_lock = threading.Lock()


def compiler_of(tokenizer: Tokenizer) -> Compiler:
    """The compiler of a tokenizer, which lives as long as that."""
    with _lock_of_compilers:
        found = _compilers.get(tokenizer)
        if found is None:
            found = _compilers[tokenizer] = Compiler(tokenizer)
        return found


def _llguidance() -> Any:
    try:
        import llguidance
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "A grammar needs llguidance, which is not installed: pip install 'evident[llm]'", extra="llm"
        ) from error
    return llguidance


def _on_deep_stack(grammar: Grammar, work: Callable[[Grammar], ResultT]) -> ResultT:
    """Compile in a thread whose stack holds the longest chain that the source can spell; else it ends the process."""
    result: list[ResultT] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            result.append(work(grammar))
        except BaseException as error:  # raised again where it is waited for
            failure.append(error)

    stack = _STACK + _STACK_PER_CHARACTER * len(grammar.source)
    thread = threading.Thread(target=run, name="evident-grammar")
    with _stack_lock:
        before = threading.stack_size(stack)
        try:
            thread.start()
        except RuntimeError as error:
            raise ResourceExceeded(
                f"Compiling the {_NAMES[grammar.kind]} needs {stack >> 20} MiB of address space for its stack, which "
                "this process may not have; raise its limit, or make the grammar shorter."
            ) from error
        finally:
            threading.stack_size(before)
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def _refusal(grammar: Grammar, error: str, place: str | None) -> InvalidInput:
    """The compiler's reason as a sentence, with its place in the source."""
    lines = error.split("\n")
    reason = lines[0]
    for number, line in enumerate(lines):
        if line.startswith("error: "):  # a regular expression's: the fault is above, with a mark under its place
            reason = f"{line.removeprefix('error: ')} in {lines[number - 2].strip():.200}"
            place = place or f"character {max(lines[number - 1].find('^') - 4, 0)}"
    if grammar.kind == "regex":
        reason = reason.removeprefix("at 1(8): ")
    if reason.startswith("panic"):
        reason = "it is too large for its compiler"
    if "coerce_one_of" in reason:
        reason = "oneOf is supported only where its branches cannot overlap; use anyOf"
    where = f" (at {place})" if place else ""
    return InvalidInput(
        f"The {_NAMES[grammar.kind]} is not valid{where}: {reason.rstrip('.')}.", place=place, reason=reason
    )
