package main

import (
	"strings"
	"testing"
)

// Each history is one object's; what is not linearizable in it is said in its name.
var histories = []struct {
	name  string
	legal bool
	lines []string
}{
	{"a name is created, then found there", true, []string{
		`{"model":"create","call":0,"return":1,"outcome":"ok"}`,
		`{"model":"create","call":2,"return":3,"outcome":"refused","reason":"REASON_ALREADY_EXISTS"}`}},
	{"a name is created twice", false, []string{
		`{"model":"create","call":0,"return":1,"outcome":"ok"}`,
		`{"model":"create","call":2,"return":3,"outcome":"ok"}`}},
	{"a name is found before anybody could have created it", false, []string{
		`{"model":"create","call":2,"return":3,"outcome":"ok"}`,
		`{"model":"create","call":0,"return":1,"outcome":"refused","reason":"REASON_ALREADY_EXISTS"}`}},
	{"a name is found by somebody who asked at the same time", true, []string{
		`{"model":"create","call":0,"return":3,"outcome":"ok"}`,
		`{"model":"create","call":1,"return":2,"outcome":"refused","reason":"REASON_ALREADY_EXISTS"}`}},
	{"a name is found since one without an answer had created it", true, []string{
		`{"model":"create","call":0,"return":-1,"outcome":"ok"}`,
		`{"model":"create","call":5,"return":6,"outcome":"refused","reason":"REASON_ALREADY_EXISTS"}`}},
	{"something ends twice", false, []string{
		`{"model":"once","call":0,"return":1,"outcome":"ok"}`,
		`{"model":"once","call":0,"return":1,"outcome":"ok"}`}},
	{"a switch goes on, is refused and goes off", true, []string{
		`{"model":"switch","call":0,"return":1,"action":"on","outcome":"ok"}`,
		`{"model":"switch","call":2,"return":3,"action":"on","outcome":"refused"}`,
		`{"model":"switch","call":4,"return":5,"action":"off","outcome":"ok"}`}},
	{"a switch that is on goes on", false, []string{
		`{"model":"switch","call":0,"return":1,"action":"on","outcome":"ok"}`,
		`{"model":"switch","call":2,"return":3,"action":"on","outcome":"ok"}`}},
	{"a switch is refused by a state that was over", false, []string{
		`{"model":"switch","call":0,"return":1,"action":"on","outcome":"ok"}`,
		`{"model":"switch","call":2,"return":3,"action":"off","outcome":"ok"}`,
		`{"model":"switch","call":4,"return":5,"action":"on","outcome":"refused"}`}},
	{"versions follow each other, a repeal between them", true, []string{
		`{"model":"version","call":0,"return":1,"action":"adopt","argument":1,"outcome":"ok"}`,
		`{"model":"version","call":2,"return":3,"action":"adopt","argument":1,"outcome":"refused"}`,
		`{"model":"version","call":4,"return":5,"action":"repeal","outcome":"ok"}`,
		`{"model":"version","call":6,"return":7,"action":"repeal","outcome":"refused"}`,
		`{"model":"version","call":8,"return":9,"action":"adopt","argument":2,"outcome":"ok"}`}},
	{"two adopt the same version", false, []string{
		`{"model":"version","call":0,"return":9,"action":"adopt","argument":1,"outcome":"ok"}`,
		`{"model":"version","call":0,"return":9,"action":"adopt","argument":1,"outcome":"ok"}`}},
	{"a version was lost", false, []string{
		`{"model":"version","call":0,"return":1,"action":"adopt","argument":1,"outcome":"ok"}`,
		`{"model":"version","call":2,"return":3,"action":"adopt","argument":2,"outcome":"refused"}`}},
	{"a stream grows in the order of time", true, []string{
		`{"model":"stream","call":0,"return":9,"outcome":"ok","sequence":7}`,
		`{"model":"stream","call":1,"return":2,"outcome":"ok","sequence":5}`}},
	{"a stream's later event stands before an earlier one", false, []string{
		`{"model":"stream","call":0,"return":1,"outcome":"ok","sequence":7}`,
		`{"model":"stream","call":2,"return":3,"outcome":"ok","sequence":5}`}},
	{"two have one sequence", false, []string{
		`{"model":"stream","call":0,"return":9,"outcome":"ok","sequence":7}`,
		`{"model":"stream","call":0,"return":9,"outcome":"ok","sequence":7}`}},
}

func TestHistories(t *testing.T) {
	for _, c := range histories {
		operations, err := read(strings.NewReader(strings.Join(c.lines, "\n")))
		if err != nil {
			t.Fatal(err)
		}
		if legal := len(check(operations).Illegal) == 0; legal != c.legal {
			t.Errorf("%s: found linearizable = %v, expected %v", c.name, legal, c.legal)
		}
	}
}

func TestObjectsDoNotMix(t *testing.T) {
	operations, err := read(strings.NewReader(
		`{"model":"create","object":"a","call":0,"return":1,"outcome":"ok"}` + "\n" +
			`{"model":"create","object":"b","call":2,"return":3,"outcome":"ok"}`))
	if result := check(operations); err != nil || result.Objects != 2 || len(result.Illegal) != 0 {
		t.Errorf("found %v, %v", result, err)
	}
}

func TestWhatIsNoOperationIsSaid(t *testing.T) {
	for _, text := range []string{`{"model":"unheard"}`, `nothing`} {
		if _, err := read(strings.NewReader(text)); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
}
