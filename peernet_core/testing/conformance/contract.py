"""Laws of what a backend is: its class, its options."""

from __future__ import annotations

import attrs

from peernet_core.configuration.contract_check import has_hook
from peernet_core.configuration.entrypoints import check_class
from peernet_core.configuration.wording import quote
from peernet_core.errors import ConfigurationError
from peernet_core.testing.conformance.subject import Subject
from peernet_core.testing.laws import LawBrokenError, law
from peernet_core.testing.place import Place

__all__ = ["LawsOfTheContract"]


class LawsOfTheContract(Subject):
    """What core checks before it calls a hook."""

    @law("change what it says")
    async def test_the_class_keeps_the_contract(self) -> None:
        """The class is one that core accepts: attrs, hooks decorated, coroutines, known by name."""
        backend = getattr(self, "backend", None)
        if backend is None:
            raise LawBrokenError("the test class names no backend", hint="write backend = MyDiscovery in it")
        problems = check_class(backend)
        if problems:
            raise LawBrokenError("\n        ".join(problems))
        for capability, hook in (("announces", "announce_self"), ("resolves", "resolve")):
            declared, there = getattr(self, capability), has_hook(backend, hook)
            if declared is not there:
                raise LawBrokenError(
                    f"the class has {'a' if there else 'no'} hook {hook}, but the test class declares "
                    f"{capability} = {declared}",
                    hint=f"declare {capability} = {there} in the test class, so that it is tested",
                )

    @law(
        "give each option its exact type, and a validator whose ValueError says what is possible; core names "
        "the table and the option"
    )
    async def test_wrong_options_are_refused(self, untried_place: Place) -> None:
        """Options that are misspelt, missing, or wrong are refused, and the message names the option."""
        place, right = untried_place, self.options(untried_place)
        self._make(place)
        fields = [field for field in attrs.fields(self.backend) if field.init]
        required = [field.alias for field in fields if field.default is attrs.NOTHING]
        for name in required:
            self._refuses(place, {key: value for key, value in right.items() if key != name}, name, "missing")
        for field in fields:
            name = field.alias or field.name
            value = right.get(name, 1)
            misspelt = {key: each for key, each in right.items() if key != name} | {name + name[-1]: value}
            self._refuses(place, misspelt, name, "misspelt")
            for wrong in self.wrong_options.get(name, []):
                self._refuses(place, right | {name: wrong}, name, f"{wrong!r}")
        for name in set(self.wrong_options) - {field.alias for field in fields}:
            raise LawBrokenError(f"wrong_options names {quote(name)}, which is no option")

    def _refuses(self, place: Place, options: dict[str, object], name: str, how: str) -> None:
        try:
            self._structured(place, options)
        except ConfigurationError as error:
            if name not in str(error):
                raise LawBrokenError(f"{quote(name)} {how}: the message does not name it: {error}") from error
        else:
            raise LawBrokenError(f"{quote(name)} {how}: accepted")
