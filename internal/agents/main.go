package agents

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/haobox/haobox/platform"
)

// Main runs an agent's command line, "NAME ACTION [WORD ...]", and returns the
// exit status. args[0] is the name it was called by: one that ends in ".sh" is
// rgmanager's, any other one Pacemaker's.
func (a *Agent) Main(ctx context.Context, env platform.Env, args []string) int {
	name, words := args[0], args[1:]
	dialect := OCF
	if strings.HasSuffix(name, ".sh") {
		dialect = RGManager
	}
	if len(words) == 0 {
		io.WriteString(env.Stderr, a.usage(name))
		return a.noAction(dialect)
	}
	switch words[0] {
	case "--help", "-h", "help", "usage":
		io.WriteString(env.Stdout, a.usage(name))
		return OK
	case "--generate-bash-completion":
		io.WriteString(env.Stdout, strings.Join(a.words(), "\n")+"\n")
		return OK
	case "meta-data", "metadata":
		text, err := a.Metadata(dialect)
		if err == nil {
			_, err = env.Stdout.Write(text)
		}
		if err != nil {
			fmt.Fprintf(env.Stderr, "%s: print the metadata: %v\n", name, err)
			return Generic
		}
		return OK
	}
	c, err := a.NewCall(env, dialect, words[0])
	if err != nil {
		fmt.Fprintf(env.Stderr, "%s: %v\n", name, err)
		return BadArguments
	}
	c.Args = words[1:]
	if a.action(c.Action) == nil {
		io.WriteString(env.Stderr, a.usage(name))
		return Unimplemented
	}
	return a.Do(ctx, c)
}

// noAction is the status without an action: an unknown one for rgmanager, bad
// arguments for OCF.
func (a *Agent) noAction(d Dialect) int {
	if d == OCF {
		return BadArguments
	}
	return Unimplemented
}

// words are the actions that the agent knows.
func (a *Agent) words() []string {
	out := []string{"start", "stop", "status", "monitor", "restart", "recover", "reload", "validate-all", "meta-data"}
	for _, m := range a.More {
		out = append(out, m.Name)
	}
	return out
}

func (a *Agent) usage(name string) string {
	return fmt.Sprintf("usage: %s {%s}\n   --help, -h  print this\nParameters come in OCF_RESKEY_NAME variables; '%s meta-data' lists them.\n",
		name, strings.Join(a.words(), "|"), name)
}

// NewCall reads a call from the environment: parameters from OCF_RESKEY_*,
// the check level, the name of the resource, what the manager adds.
func (a *Agent) NewCall(env platform.Env, d Dialect, action string) (*Call, error) {
	rule, err := a.Rule()
	if err != nil {
		return nil, err
	}
	c := &Call{Env: env, Dialect: d, Type: a.Type, Action: action, rule: rule}
	for i := range rule.Params {
		if v := env.Getenv("OCF_RESKEY_" + rule.Params[i].Name); v != "" {
			c.Params = append(c.Params, Param{rule.Params[i].Name, v})
		}
	}
	if rule.OpenParams {
		for _, kv := range env.Environ() {
			k, v, _ := strings.Cut(kv, "=")
			if k, ok := strings.CutPrefix(k, "OCF_RESKEY_"); ok && rule.Param(k) == nil && !meta(k) {
				c.Params = append(c.Params, Param{k, v})
			}
		}
	}
	c.Name = strings.TrimPrefix(env.Getenv("OCF_RESOURCE_INSTANCE"), a.Type+":")
	if d == OCF {
		c.Name = env.Getenv("OCF_RESOURCE_INSTANCE")
	}
	c.complete()
	if c.Depth, err = number(env, "OCF_CHECK_LEVEL"); err != nil {
		return nil, err
	}
	if c.Others, err = number(env, "OCF_RESKEY_RGMANAGER_meta_refcnt"); err != nil {
		return nil, err
	}
	seconds, err := number(env, "OCF_RESKEY_RGMANAGER_meta_timeout")
	if err != nil {
		return nil, err
	}
	c.Timeout = time.Duration(seconds) * time.Second
	if d == OCF {
		ms, err := number(env, "OCF_RESKEY_CRM_meta_timeout")
		if err != nil {
			return nil, err
		}
		c.Timeout = time.Duration(ms) * time.Millisecond
	}
	return c, nil
}

// complete fills the name and the primary parameter from each other.
func (c *Call) complete() {
	if len(c.rule.Params) == 0 || !c.rule.Params[0].Primary {
		return
	}
	primary := c.rule.Params[0].Name
	v := c.Param(primary)
	switch {
	case c.Name == "":
		c.Name = v
	case v == "" && primary == "name":
		// Pacemaker gives resources names of its own.
		c.Params = append(c.Params, Param{primary, c.Name})
	}
}

// meta reports whether a name after OCF_RESKEY_ is the manager's and not a
// parameter.
func meta(name string) bool {
	return strings.HasPrefix(name, "CRM_meta_") || strings.HasPrefix(name, "RGMANAGER_meta_") || name == "crm_feature_set"
}

// number reads a variable that is a number from 0 to 2147483647, or not set.
func number(env platform.Env, name string) (int, error) {
	v := env.Getenv(name)
	if v == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%s=%q: it must be a number from 0 to 2147483647", name, v)
	}
	return int(n), nil
}

// NewCallFor makes a call inside this process: name and parameters as the
// resource tree has them.
func (a *Agent) NewCallFor(env platform.Env, action string, depth int, name string, params []Param) (*Call, error) {
	rule, err := a.Rule()
	if err != nil {
		return nil, err
	}
	c := &Call{Env: env, Dialect: InProcess, Type: a.Type, Name: name, Action: action, Depth: depth, Params: params, rule: rule}
	c.complete()
	return c, nil
}

// Metadata is the agent's metadata in a dialect.
func (a *Agent) Metadata(d Dialect) ([]byte, error) {
	if d != OCF {
		return metadata(a.Program())
	}
	rule, err := a.Rule()
	if err != nil {
		return nil, err
	}
	return rule.OCF(), nil
}
