"""The guide's application, served as the guide serves it."""

from flask import Flask

app = Flask(__name__)


@app.route("/")
def hello() -> str:
    """Greet."""
    return "Hello World!"


if __name__ == "__main__":
    app.run(host="0.0.0.0", debug=True)  # noqa: S104, S201 - what is measured
