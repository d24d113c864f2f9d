"""Pages of one file are made of templates and of texts that anybody may have written."""

import base64
import hashlib

from gptlib.viz.explorers.pages import filled

TEMPLATE = """<meta content="script-src %ALLOWED%"><title>%TITLE%</title><p>%ABOUT%, 100%</p>
<script type="module">
run("%TITLE%");
</script>"""


def test_a_text_that_looks_like_a_place_in_the_template_stays_a_text(tmp_path):
    (tmp_path / "page.html").write_text(TEMPLATE)
    page = filled(tmp_path / "page.html", {"TITLE": "%ABOUT% %ALLOWED%", "ABOUT": "%TITLE% %NONE%"}).decode()
    assert "<title>%ABOUT% %ALLOWED%</title><p>%TITLE% %NONE%, 100%</p>" in page
    digest = base64.b64encode(hashlib.sha256(b'\nrun("%ABOUT% %ALLOWED%");\n').digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
