"""How the book cites, and how it is cited.

A Sphinx extension with a style for pybtex.  The bibliography names its entries as the text does,
*Gast et al., 2023a*, not by numbers.  Two works of the same people in one year carry a
letter in `references.bib` (`year = {2023a}`), which text and list then share; a letter that is
missing stops the build.

At the end of each chapter of the page a folded box says in BibTeX how to cite it; people, year and
version are those of `CITATION.cff`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from pybtex.database import Entry, Person
from pybtex.plugin import register_plugin
from pybtex.style.formatting.unsrt import Style as UnsrtStyle
from pybtex.style.labels import BaseLabelStyle
from pybtex.style.sorting.author_year_title import SortingStyle as AuthorYearTitle
from pybtex.style.template import field, sentence
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms import SphinxPostTransform

CITATION = Path(__file__).parent.parent / "CITATION.cff"


def last_name(person: Person) -> str:
    """With what stands before it: *van der Vaart*.

    Example:
        >>> last_name(Person(r"Ni{\\~n}o-Mora, Jos{\\'e}"))
        'Niño-Mora'
    """
    parts = person.rich_prelast_names + person.rich_last_names
    return " ".join(str(part) for part in parts)


def label(entry: Entry) -> str:
    """Names and year, as `cite:t` writes them.

    Example:
        >>> people = [Person("Mo, Jeonghoon"), Person("Walrand, Jean")]
        >>> label(Entry("article", fields={"year": "2000"}, persons={"author": people}))
        'Mo and Walrand, 2000'
    """
    names = [last_name(person) for person in entry.persons["author"]]
    several = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
    return f"{several}, {entry.fields['year']}"


class NamesAndYears(BaseLabelStyle):
    """The labels of the list."""

    def format_labels(self, sorted_entries: Iterable[Entry]) -> Iterator[str]:
        """One for each entry, no two alike."""
        seen: dict[str, str] = {}
        for entry in sorted_entries:
            name = label(entry)
            if name in seen:
                raise ExtensionError(
                    f"references.bib: {seen[name]} and {entry.key} are both {name!r}: "
                    "give the years letters, as in year = {2023a}"
                )
            seen[name] = entry.key
            yield name


class WithoutAccents(AuthorYearTitle):
    """Rényi before Russo: an accent does not move a name to the end of its letter."""

    def sorting_key(self, entry: Entry) -> tuple[str, ...]:
        """The key of pybtex, in plain letters."""
        parts = [label(entry).casefold(), *map(str, super().sorting_key(entry))]
        split = (unicodedata.normalize("NFKD", part) for part in parts)
        return tuple("".join(c for c in s if not unicodedata.combining(c)) for s in split)


class Style(UnsrtStyle):
    """Like pybtex's plain style, with these labels, and with titles as they were printed."""

    default_label_style = NamesAndYears
    default_sorting_style = WithoutAccents

    def format_title(self, e: Entry, which_field: str, as_sentence: bool = True) -> Any:
        """In the capitals of references.bib: "(More) Efficient", not "(more) efficient"."""
        title = field(which_field)
        return sentence[title] if as_sentence else title


# ------------------------------------------------------------------------------ to be cited


def bibtex(slug: str, title: str, book: dict[str, Any]) -> str:
    """A chapter, as a part of the book that CITATION.cff describes.

    Example:
        >>> book = {"title": "A book", "authors": [{"name": "We"}], "version": "1.0"}
        >>> print(bibtex("two_levels", "Two levels", book | {"date-released": "2026-11-21"}))
        @incollection{alphafair_two_levels,
          author = {{We}},
          title = {Two levels},
          booktitle = {A book},
          year = {2026},
          note = {Version 1.0}
        }
    """
    fields = {
        "author": " and ".join(f"{{{author['name']}}}" for author in book["authors"]),
        "title": title,
        "booktitle": book["title"],
        "year": str(book["date-released"])[:4],
        "note": f"Version {book['version']}",
    }
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"@incollection{{alphafair_{slug},\n{lines}\n}}"


class CiteBox(SphinxPostTransform):
    """At the end of each notebook of the page."""

    default_priority = 10
    builders = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Fold it: who does not cite does not look."""
        if self.env.doc2path(self.env.docname, base=False).endswith(".ipynb"):
            chapter = next(self.document.findall(nodes.section))
            slug = Path(self.env.docname).name
            book = yaml.safe_load(CITATION.read_text(encoding="utf-8"))
            words = bibtex(slug, chapter[0].astext(), book)
            chapter += [
                nodes.raw("", "<details class='cite'><summary>Cite</summary>", format="html"),
                nodes.literal_block(words, words, language="bibtex"),
                nodes.raw("", "</details>", format="html"),
            ]


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_post_transform(CiteBox)
    register_plugin("pybtex.style.formatting", "names_and_years", Style)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
