"""Go templates: the results are those of Go's text/template and Docker's functions."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from estiba.cli.template import Template
from estiba.errors import InvalidArgument


class Row:
    def __init__(self) -> None:
        self.ID = "sha256:abc"
        self.size = 5

    def Label(self, name: str) -> str:  # noqa: N802 - a field of the template
        return f"<{name}>"


DATA: dict[str, object] = {
    "Name": "hello",
    "Empty": "",
    "Null": None,
    "Yes": True,
    "Count": 3,
    "Half": 0.5,
    "Words": ["a", "b", 1],
    "Config": {"Labels": {"k": "v", "a": "1"}, "Env": ["PATH=/bin"], "Cmd": None},
    "Rows": [{"N": 1}, {"N": 2}, {"N": 3}],
}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("plain }} text", "plain }} text"),
        ("{{.Name}}", "hello"),
        ("{{ .Name }}", "hello"),
        ("a {{- .Name -}} b", "ahellob"),
        ("{{/* nothing }} */}}x", "x"),
        ("{{.Words}}", "[a b 1]"),
        ("{{.Config.Labels}}", "map[a:1 k:v]"),
        ("{{.Config.Labels.k}}", "v"),
        ("{{.Config.Labels.none}}", "<no value>"),
        ("{{.Null}}", "<no value>"),
        ("{{.Yes}} {{.Count}} {{.Half}}", "true 3 0.5"),
        ("{{json .Config.Labels}}", '{"k":"v","a":"1"}'),
        ("{{json .Config.Cmd}}", "null"),
        ('{{index .Config.Labels "k"}}', "v"),
        ('{{index .Config.Labels "none"}}', ""),
        ("{{index .Words 1}}", "b"),
        ("{{(index .Rows 1).N}}", "2"),
        ("{{slice .Name 1 3}}", "el"),
        ("{{len .Words}}{{len .Name}}", "35"),
        ('{{join .Words ","}}', "a,b,1"),
        ('{{json (split "a,b" ",")}}', '["a","b"]'),
        ("{{lower .Name}} {{upper .Name}} {{title .Name}}", "hello HELLO Hello"),
        ("{{truncate .Name 2}}|{{truncate .Name 99}}", "he|hello"),
        ("{{pad .Name 1 2}}|{{pad .Empty 1 2}}|", " hello  ||"),
        ("{{println .Name .Count}}", "hello 3\n"),
        ('{{print "a" 1 2 "b"}}', "a1 2b"),
        ('{{printf "%s=%d %v %q %5.1f %x %%" .Name .Count .Words .Name .Half 255}}', 'hello=3 [a b 1] "hello"   0.5 ff %'),
        ('{{printf "%-7s|%7s|%03d" .Name .Name 7}}', "hello  |  hello|007"),
        ('{{printf "%d" .Name}}', "%!d(hello)"),
        ('{{.Name | upper | printf "%s!"}}', "HELLO!"),
        ("{{if .Empty}}a{{else if .Null}}b{{else}}c{{end}}", "c"),
        ('{{if eq .Name "x" "hello"}}yes{{end}}', "yes"),
        ("{{if and .Yes (gt .Count 2)}}yes{{end}}", "yes"),
        ('{{or .Empty "default"}} {{and .Yes .Name}} {{not .Empty}}', "default hello true"),
        ("{{ne .Count 3}} {{lt 1 2}} {{le 2 2}} {{ge 1 2}}", "false true true false"),
        ("{{with .Config}}{{.Env}}{{end}}", "[PATH=/bin]"),
        ("{{with .Null}}x{{else}}none{{end}}", "none"),
        ("{{with $x := .Name}}{{$x}}{{end}}", "hello"),
        ("{{range .Rows}}{{.N}},{{end}}", "1,2,3,"),
        ("{{range $i, $row := .Rows}}{{$i}}:{{$row.N}} {{end}}", "0:1 1:2 2:3 "),
        ("{{range $key, $value := .Config.Labels}}{{$key}}={{$value}};{{end}}", "a=1;k=v;"),
        ("{{range .Null}}x{{else}}empty{{end}}", "empty"),
        ("{{range .Rows}}{{if eq .N 2}}{{continue}}{{end}}{{.N}}{{end}}", "13"),
        ("{{range .Rows}}{{if eq .N 2}}{{break}}{{end}}{{.N}}{{end}}", "1"),
        ("{{range .Rows}}{{$.Name}}{{end}}", "hellohellohello"),
        ('{{$x := "a"}}{{range .Rows}}{{$x = "z"}}{{end}}{{$x}}', "z"),
        ('{{$x := "a"}}{{range .Rows}}{{$x := "z"}}{{end}}{{$x}}', "a"),
        (r'{{"a\"}}\n"}}', 'a"}}\n'),
        ("{{`raw}}`}}", "raw}}"),
        ("{{true}} {{-1}}", "true -1"),
        ("{{or .Yes .Missing}}", "true"),
    ],
)
def test_renders(source: str, text: str) -> None:
    assert Template(source).render(DATA) == text


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("{{.Nme}}", "the object has no field .Nme; it has .Name"),
        ("{{.Config.env}}", ".Config has no field .env; it has .Labels, .Env, .Cmd"),
        ("{{.Null.X}}", ".Null has no value"),
        ("{{.Name.X}}", ".Name has no field .X"),
        ("{{.__class__}}", "no field .__class__"),
        ("{{index .Words 9}}", "index 9 is out of range"),
        ("{{.Name", "unclosed action"),
        ("{{", "unclosed action"),
        ("{{}}", "missing value"),
        ("{{if .Name}}", "{{end}} is missing"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{else}}", "unexpected {{else}}"),
        ("{{if .A}}{{else}}{{else}}{{end}}", "unexpected {{else}}"),
        ("{{nope .Name}}", "function 'nope' is not defined"),
        ("{{join .Words}}", "wrong number of arguments for join"),
        ("{{join .Name}}", "wrong number of arguments"),
        ("{{upper .Count}}", "upper needs text"),
        ("{{.Name .Count}}", "not a function"),
        ("{{$x}}", "undefined variable $x"),
        ("{{$x = 1}}", "undefined variable $x"),
        ("{{(.Name}}", "missing )"),
        ("{{.Name @}}", "unexpected '@'"),
        ("{{range .Yes}}{{end}}", "range cannot go over"),
        ("{{break}}", "outside range"),
        ("{{eq .Name 1}}", "eq cannot compare"),
        ('{{printf "%99999999d" 1}}', "printf needs a number up to"),
        ("{{pad .Name 99999999 1}}", "pad needs a number up to"),
        ("{{" + "(" * 500 + ".Name" + ")" * 500 + "}}", "nested too deeply"),
        ("{{if .Yes}}" * 500 + "{{end}}" * 500, "nested too deeply"),
    ],
)
def test_refuses(source: str, cause: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Template(source).render(DATA)
    assert cause in caught.value.message


def test_objects_show_their_capitalised_attributes_only() -> None:
    assert Template('{{.ID}} {{.Label "x"}}').render(Row()) == "sha256:abc <x>"
    assert Template("{{json .}}").render(Row()) == '{"ID":"sha256:abc"}'
    with pytest.raises(InvalidArgument, match=r"no field .size"):
        Template("{{.size}}").render(Row())


@given(st.text(alphabet='{}.|"`()$-: \n/*azAZ09=,ifendrangewith', max_size=60))
@example("{{range $i, $e := .Words}}{{end}}")
def test_any_text_renders_or_is_refused(source: str) -> None:
    try:
        text = Template(source).render(DATA)
    except InvalidArgument:
        return
    assert isinstance(text, str)


@given(st.text(max_size=40).filter(lambda text: "{{" not in text))
def test_text_without_actions_is_itself(source: str) -> None:
    assert Template(source).render(DATA) == source
