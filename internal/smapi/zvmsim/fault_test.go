package zvmsim

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseFault(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		text string
		want Fault
	}{
		{"function=Image_Deactivate,target=CNODE1,count=2,do=lost-answer",
			Fault{Function: "Image_Deactivate", Target: "CNODE1", Count: 2, Effect: Effect{Cut: CutAfterID, Execute: ExecuteYes}}},
		{" member = ZVM2 , user=CMANAGER, skip=3, probability=0.25, do=drop",
			Fault{Member: "ZVM2", User: "CMANAGER", Skip: 3, Probability: 0.25, Effect: Effect{Cut: CutBeforeID}}},
		{"do=one-byte+length,value=-1", Fault{Effect: Effect{OneByte: true, Length: Lie{LieAdd, -1}}}},
		{"do=length,value==-1", Fault{Effect: Effect{Length: Lie{LieSet, -1}}}},
		{"do=array,value=4294967295", Fault{Effect: Effect{Array: Lie{LieSet, 1<<32 - 1}}}},
		{"do=late", Fault{Effect: Effect{Cut: CutAfterID, Execute: ExecuteLate, Late: DefaultLate}}},
		{"do=late,delay=0s", Fault{Effect: Effect{Cut: CutAfterID, Execute: ExecuteLate}}},
		{"do=stall-bytes,delay=5ms", Fault{Effect: Effect{OneByte: true, BetweenBytes: 5 * time.Millisecond}}},
		{"do=code,rc=200,rs=16,execute=yes", Fault{Effect: Effect{Code: true, Return: 200, Reason: 16, Execute: ExecuteYes}}},
		{"do=drop,execute=late,delay=1m", Fault{Effect: Effect{Cut: CutBeforeID, Execute: ExecuteLate, Late: time.Minute}}},
		{"do=refuse,member=ZVM1,count=3", Fault{Member: "ZVM1", Count: 3, Effect: Effect{Refuse: true}}},
	} {
		t.Run(tc.text, func(t *testing.T) {
			t.Parallel()
			tc.want.Text = tc.text
			got, err := ParseFault(tc.text)
			if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestParseFault_SaysAllThatIsWrong(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		text string
		want []string
	}{
		{"", []string{`"" is not key=value`, "do= is missing; it is one or several, joined by +, of drop, close-after-id,"}},
		{"do=explode,count=many,speed=9", []string{"unknown do=explode", "count=many: not a number", `unknown key "speed"`}},
		{"do=truncate", []string{"do=truncate needs at="}},
		{"do=code,rs=4", []string{"do=code needs rc="}},
		{"do=drop,delay=3s", []string{"delay= has no meaning for do=drop"}},
		{"do=drop,do=reset", []string{"do is given twice"}},
		{"do=drop,probability=0", []string{"probability=0: it must be above 0 and at most 1"}},
		{"do=drop,probability=NaN", []string{"probability=NaN: it must be above 0"}},
		{"do=stall-id,delay=-1s", []string{"delay=-1s: it must not be negative"}},
		{"do=length,value=+99999999999", []string{"value=+99999999999: not N, +N, -N or =N"}},
		{"do=drop,execute=maybe", []string{"execute=maybe is not yes, no or late"}},
		{"do=stall-id,delay=0s", []string{"it does nothing"}},
		{"do=refuse,target=CNODE1", []string{"do=refuse happens before a request is read"}},
	} {
		_, err := ParseFault(tc.text)
		if !errors.Is(err, ErrFault) {
			t.Errorf("%s: %v", tc.text, err)
			continue
		}
		for _, want := range tc.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q is not in:\n%v", tc.text, want, err)
			}
		}
	}
}

func TestVerbsHaveTheirMeaning(t *testing.T) {
	t.Parallel()
	for _, v := range Verbs() {
		f, err := ParseFault("do=" + v.Name + ",at=1,delay=1s,value=1,rc=1")
		if (f.Effect == Effect{}) || v.Meaning == "" {
			t.Errorf("do=%s does nothing, or nobody says what: %v", v.Name, err)
		}
	}
}

func FuzzParseFault(f *testing.F) {
	f.Add("function=Image_Deactivate,target=CNODE1,count=2,do=lost-answer")
	f.Add("do=one-byte+length+array,value==-1,at=,=,")
	f.Fuzz(func(t *testing.T, text string) {
		fault, err := ParseFault(text)
		if err == nil && fault.Effect == (Effect{}) {
			t.Errorf("%q is a fault that does nothing", text)
		}
	})
}

func TestValidate_SaysAllThatIsWrong(t *testing.T) {
	t.Parallel()
	cfg := Config{Systems: []System{
		{Name: "ONE", Members: []Member{{Name: "A", Workers: -1}, {Name: "a"}},
			Guests: []Guest{{Name: "TOOLONGNAME"}, {Name: "CNODE1", Member: "B"}, {Name: "cnode1"}},
			Users:  []User{{Name: ""}, {Name: "U", Password: "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"}},
			Delays: Delays{Logoff: -1}},
		{Name: "one"},
	}}
	err := cfg.Validate()
	for _, want := range []string{
		"member a is there twice", "member A has -1 workers", `guest "TOOLONGNAME": a name has 1 to 8 characters`,
		`guest CNODE1 is on "B", which is no member of system ONE`, "guest CNODE1 is there twice", `user ""`,
		"the password of user U is longer than 200 bytes", "system ONE has a negative delay", "system ONE is there twice", "system one has 0 members",
	} {
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(want)) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
	if !errors.Is(err, ErrConfig) {
		t.Errorf("%v is no ErrConfig", err)
	}
	if err := (&Config{}).Validate(); !errors.Is(err, ErrConfig) {
		t.Errorf("an empty configuration: %v", err)
	}
}
