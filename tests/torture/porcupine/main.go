// Checks client histories for linearizability, with Porcupine.
//
// Reads one operation a line from standard input, as JSON:
//
//	{"model": "switch", "object": "sites/paris/servers/a", "client": 3, "call": 12, "return": 15,
//	 "action": "on", "argument": 0, "outcome": "ok", "reason": "", "sequence": 7}
//
// Times are nanoseconds of one steady clock; a return of -1 means that nobody knows when it returned.
// Each object is a history of its own. Prints {"objects", "operations", "illegal", "undecided"}, the last
// two with the objects' names; ends with 0 where both are empty and with 1 otherwise.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"
)

// A history that takes longer than this is undecided, which is no success.
const patience = 60 * time.Second

type operation struct {
	Model    string `json:"model"`
	Object   string `json:"object"`
	Client   int    `json:"client"`
	Call     int64  `json:"call"`
	Return   int64  `json:"return"`
	Action   string `json:"action"`
	Argument int64  `json:"argument"`
	Outcome  string `json:"outcome"`
	Reason   string `json:"reason"`
	Sequence int64  `json:"sequence"`
}

func (o operation) ok() bool { return o.Outcome == "ok" }

type version struct {
	latest   int64
	repealed bool
}

// A step answers whether the operation may happen in a state, and the state after it.
type step func(state interface{}, o operation) (bool, interface{})

type model struct {
	initial interface{}
	step    step
}

var models = map[string]model{
	// A name is created once; later attempts find it there.
	"create": {false, func(state interface{}, o operation) (bool, interface{}) {
		exists := state.(bool)
		if o.ok() {
			return !exists, true
		}
		return exists || o.Reason != "REASON_ALREADY_EXISTS", exists
	}},
	// Something that others may end too is ended at most once.
	"once": {false, func(state interface{}, o operation) (bool, interface{}) {
		ended := state.(bool)
		if o.ok() {
			return !ended, true
		}
		return true, ended
	}},
	// On or off; a switch to where it is already is refused.
	"switch": {false, func(state interface{}, o operation) (bool, interface{}) {
		on, target := state.(bool), o.Action == "on"
		if o.ok() {
			return on != target, target
		}
		return on == target, on
	}},
	// Compare and set: the next version is the latest and one; what is repealed stays counted.
	"version": {version{}, func(state interface{}, o operation) (bool, interface{}) {
		now := state.(version)
		fits, next := o.Argument == now.latest+1, version{o.Argument, false}
		if o.Action == "repeal" {
			fits, next = now.latest > 0 && !now.repealed, version{now.latest, true}
		}
		if o.ok() {
			return fits, next
		}
		return !fits, now
	}},
	// A stream: each operation, fact or refusal, gets a higher sequence than those before it. Its argument is
	// how many of the history's have a lower one, which leaves one order to try.
	"stream": {int64(0), func(state interface{}, o operation) (bool, interface{}) {
		return o.Argument == state.(int64), o.Argument + 1
	}},
}

func (m model) porcupine() porcupine.Model {
	return porcupine.Model{
		Init: func() interface{} { return m.initial },
		Step: func(state, input, _ interface{}) (bool, interface{}) { return m.step(state, input.(operation)) },
	}
}

type report struct {
	Objects    int      `json:"objects"`
	Operations int      `json:"operations"`
	Illegal    []string `json:"illegal"`
	Undecided  []string `json:"undecided"`
}

func read(from io.Reader) (map[string][]operation, error) {
	histories := map[string][]operation{}
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var o operation
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return nil, fmt.Errorf("%q is no operation: %w", lines.Text(), err)
		}
		if _, known := models[o.Model]; !known {
			return nil, fmt.Errorf("there is no model %q", o.Model)
		}
		key := o.Model + " " + o.Object
		histories[key] = append(histories[key], o)
	}
	return histories, lines.Err()
}

func rank(history []operation) {
	sort.SliceStable(history, func(i, j int) bool { return history[i].Sequence < history[j].Sequence })
	for i := range history {
		history[i].Argument = int64(i)
		if i > 0 && history[i].Sequence == history[i-1].Sequence {
			history[i].Argument = history[i-1].Argument
		}
	}
}

func check(histories map[string][]operation) report {
	result := report{Illegal: []string{}, Undecided: []string{}}
	for key, history := range histories {
		result.Objects++
		result.Operations += len(history)
		if history[0].Model == "stream" {
			rank(history)
		}
		var operations []porcupine.Operation
		for _, o := range history {
			returned := o.Return
			if returned < 0 {
				returned = math.MaxInt64
			}
			operations = append(operations,
				porcupine.Operation{ClientId: o.Client, Input: o, Call: o.Call, Output: nil, Return: returned})
		}
		switch porcupine.CheckOperationsTimeout(models[history[0].Model].porcupine(), operations, patience) {
		case porcupine.Illegal:
			result.Illegal = append(result.Illegal, key)
		case porcupine.Unknown:
			result.Undecided = append(result.Undecided, key)
		}
	}
	sort.Strings(result.Illegal)
	sort.Strings(result.Undecided)
	return result
}

func main() {
	histories, err := read(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, "porcupine:", err)
		os.Exit(2)
	}
	result := check(histories)
	text, _ := json.Marshal(result)
	fmt.Println(string(text))
	if len(result.Illegal)+len(result.Undecided) > 0 {
		os.Exit(1)
	}
}
