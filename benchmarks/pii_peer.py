"""Presidio in pattern mode, in an environment of its own: texts from standard input, spans out.

A blank spaCy pipeline takes the place of its language model. The public suffix list is the one that
its library carries: without that, each domain would be looked up on the network.
"""

import json
import logging
import sys
import time

import spacy
import tldextract
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
from presidio_analyzer.nlp_engine import SpacyNlpEngine

_LEAST_SCORE = 0.4
"""Presidio's phone numbers have exactly this score; below it every number is a licence."""


class _Blank(SpacyNlpEngine):
    """The engine without a model."""

    def __init__(self) -> None:
        super().__init__(models=[{"lang_code": "en", "model_name": "en_core_web_sm"}])
        self.nlp = {"en": spacy.blank("en")}


def main() -> None:
    """Analyse the texts and print seconds and spans."""
    logging.disable(logging.WARNING)
    tldextract.extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
    registry = RecognizerRegistry()
    registry.load_predefined_recognizers(languages=["en"])
    registry.remove_recognizer("SpacyRecognizer")
    engine = AnalyzerEngine(registry=registry, nlp_engine=_Blank(), supported_languages=["en"])
    texts = json.load(sys.stdin)
    engine.analyze("a first text, call 212-555-0123", language="en")
    begun = time.perf_counter()
    found = [engine.analyze(text, language="en", score_threshold=_LEAST_SCORE) for text in texts]
    seconds = time.perf_counter() - begun
    spans = [[(one.start, one.end, one.entity_type) for one in text] for text in found]
    json.dump({"seconds": seconds, "spans": spans}, sys.stdout)


main()
