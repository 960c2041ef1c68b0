"""The JSON Schema of ``submission.json``, for tools in other languages.

It is generated from the models, kept as a file, and a test holds the two equal.
"""

import json
from pathlib import Path

from dojobench.leaderboard.submission import SubmissionFile

SCHEMA_FILE = Path(__file__).resolve().parent / "schemas" / "submission-1.json"
SCHEMA_ID = "urn:dojobench:submission:1"


def schema_text() -> str:
    """Gives the schema as it is published."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **SubmissionFile.model_json_schema(mode="validation"),
    }
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
