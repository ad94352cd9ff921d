//! A scriptable CNI plugin that records its calls: what integration tests delegate to.
//!
//! It goes by the name that it is started under: a test links it into a directory as `blue`, and
//! braid runs it for `"type": "blue"`. Beside it, in `.recorder` of that directory:
//!
//! ```text
//! calls          one JSON line for each call: plugin, verb, environment as it was, standard input
//! blue.json      the script: {"<verb>": answer} or {"<verb> <interface>": answer}
//! ```
//!
//! Without a script it behaves: ADD returns what it was given plus an interface and the plugin's
//! `addresses`, `gateway` and `routes`; with `"link": true` it makes a real interface; DEL removes
//! it; VERSION lists every version; the other verbs succeed in silence.
//!
//! Started as `recorder exec <program> [NAME=VALUE]...` it becomes that program, with exactly that
//! environment, repetitions included: no shell can start a process so.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::exit,
    reason = "a test's tool: it fails loudly, and answers on stdout"
)]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What to do in one call, instead of the default or before it. The keys act in this order.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Answer {
    /// Written to standard error.
    stderr: Option<String>,
    /// A shell command; it has our environment and our outputs.
    shell: Option<String>,
    /// Waits.
    sleep_ms: u64,
    /// Waits until a file is there.
    wait_for: Option<PathBuf>,
    /// Fails some calls: see [`Unlucky`].
    unlucky: Option<Unlucky>,
    /// Fails unless each of these is there: a JSON pointer into standard input that is not null,
    /// or a variable, `CNI_ARGS` included, that is not empty.
    insist: Vec<String>,
    /// Answers the previous result as it is.
    pass_on: bool,
    /// Runs this plugin with the same request, and answers what it answers.
    run: Option<PathBuf>,
    /// Makes the default's interface although the call fails afterwards.
    link: bool,
    /// Prints so many MiB of spaces.
    flood_mib: usize,
    /// Prints this text in place of a result.
    stdout: Option<String>,
    /// Prints this value in place of a result.
    result: Option<Value>,
    /// Merged into the default result.
    add_to_result: Map<String, Value>,
    /// Prints this error object; the call fails.
    error: Option<Value>,
    /// The status to exit with.
    exit: Option<i32>,
}

/// One call in so many fails: half of them before `run`, half after it. Which ones depends on the
/// seed, and on how often the same was called before, and not on what else is called meanwhile.
#[derive(Deserialize)]
struct Unlucky {
    seed: String,
    one_in: u32,
}

/// When a call fails.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Before,
    After,
    Never,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("exec") {
        exec(&arguments.collect::<Vec<_>>());
    }
    let call = Call::read();
    call.record();
    exit(call.answer());
}

/// Becomes another program, with an environment of exactly these variables.
fn exec(arguments: &[String]) -> ! {
    let arguments: Vec<CString> =
        arguments.iter().map(|argument| CString::new(argument.as_str()).unwrap()).collect();
    let (program, environment) = arguments.split_first().expect("a program to become");
    let errno = nix::unistd::execve(program, &[program], environment).unwrap_err();
    panic!("cannot become {program:?}: {errno}");
}

/// One call, as it came.
struct Call {
    plugin: String,
    directory: PathBuf,
    variables: BTreeMap<String, String>,
    environment: Vec<(String, String)>,
    stdin: String,
    config: Value,
}

impl Call {
    fn read() -> Self {
        let program = PathBuf::from(std::env::args_os().next().expect("argv[0]"));
        let mut stdin = String::new();
        std::io::stdin().read_to_string(&mut stdin).expect("standard input is text");
        let environment = exact_environment();
        Self {
            plugin: program.file_name().expect("a name").to_string_lossy().into_owned(),
            directory: program.parent().expect("a directory").join(".recorder"),
            variables: environment.iter().cloned().collect(),
            environment,
            config: serde_json::from_str(&stdin).unwrap_or_default(),
            stdin,
        }
    }

    fn variable(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", String::as_str)
    }

    fn record(&self) {
        let stdin = if self.config.is_null() {
            Value::from(self.stdin.clone())
        } else {
            self.config.clone()
        };
        let line = json!({
            "plugin": self.plugin,
            "verb": self.variable("CNI_COMMAND"),
            "interface": self.variable("CNI_IFNAME"),
            "process": std::process::id(),
            "environment": self.environment,
            "stdin": stdin,
            "at": SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64(),
        });
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.directory.join("calls"))
            .unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn script(&self) -> Answer {
        let Ok(text) =
            std::fs::read_to_string(self.directory.join(format!("{}.json", self.plugin)))
        else {
            return Answer::default();
        };
        let mut script: Map<String, Value> =
            serde_json::from_str(&text).expect("a script is an object");
        let verb = self.variable("CNI_COMMAND");
        let for_interface = script.remove(&format!("{verb} {}", self.variable("CNI_IFNAME")));
        let answer = for_interface.or_else(|| script.remove(verb)).unwrap_or_else(|| json!({}));
        serde_json::from_value(answer)
            .unwrap_or_else(|error| panic!("script of {}: {error}", self.plugin))
    }

    fn answer(&self) -> i32 {
        let answer = self.script();
        if let Some(text) = &answer.stderr {
            eprint!("{text}");
        }
        if let Some(command) = &answer.shell {
            Command::new("/bin/bash").args(["-c", command]).status().expect("bash");
        }
        if let Some(missing) = answer.insist.iter().find(|needed| !self.has(needed)) {
            println!("{}", json!({"code": 7, "msg": format!("{} without {missing}", self.plugin)}));
            return 1;
        }
        if answer.pass_on {
            println!("{}", self.config["prevResult"]);
            return 0;
        }
        std::thread::sleep(Duration::from_millis(answer.sleep_ms));
        if let Some(file) = &answer.wait_for {
            wait_for(file);
        }
        if answer.unlucky.is_some() || answer.run.is_some() {
            return self.run(&answer);
        }
        if answer.link {
            self.make_link();
        }
        for _ in 0..answer.flood_mib {
            if std::io::stdout().write_all(&[b' '; 1 << 20]).is_err() {
                break;
            }
        }
        match (&answer.stdout, &answer.result, &answer.error) {
            (Some(text), _, _) => print!("{text}"),
            (None, Some(value), _) | (None, None, Some(value)) => println!("{value}"),
            (None, None, None) => self.behave(&answer),
        }
        answer.exit.unwrap_or(i32::from(answer.error.is_some()))
    }

    fn has(&self, needed: &str) -> bool {
        if needed.starts_with('/') {
            return self.config.pointer(needed).is_some_and(|value| !value.is_null());
        }
        let mut args = self.variable("CNI_ARGS").split(';').filter_map(|pair| pair.split_once('='));
        !self.variable(needed).is_empty()
            || args.any(|(name, value)| name == needed && !value.is_empty())
    }

    /// Another plugin's answer, unless fate is against it.
    fn run(&self, answer: &Answer) -> i32 {
        let fate = answer.unlucky.as_ref().map_or(Fate::Never, |unlucky| self.fate(unlucky));
        let program = answer.run.as_ref().filter(|_| fate != Fate::Before);
        let output = program.map(|program| self.output_of(program));
        match output {
            Some((status, stdout)) if fate == Fate::Never => {
                std::io::stdout().write_all(&stdout).unwrap();
                status
            }
            _ => {
                println!("{}", json!({"code": 99, "msg": "out of luck"}));
                1
            }
        }
    }

    fn output_of(&self, program: &Path) -> (i32, Vec<u8>) {
        let mut command = Command::new(program);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(self.stdin.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code().unwrap_or(1), output.stdout)
    }

    fn fate(&self, unlucky: &Unlucky) -> Fate {
        let [container, verb, interface] =
            ["CNI_CONTAINERID", "CNI_COMMAND", "CNI_IFNAME"].map(|name| self.variable(name));
        let what = format!("{container} {verb} {interface}");
        // Calls for one container come one after the other.
        let tries = self.directory.join(format!("tries {what}"));
        let mut file = OpenOptions::new().append(true).create(true).open(tries).unwrap();
        file.write_all(b".").unwrap();
        let count = file.metadata().unwrap().len();
        let seed = crc32fast::hash(format!("{} {what} {count}", unlucky.seed).as_bytes());
        match fastrand::Rng::with_seed(u64::from(seed)).u32(0..2 * unlucky.one_in) {
            0 => Fate::Before,
            1 => Fate::After,
            _ => Fate::Never,
        }
    }

    /// What a plugin of good manners does.
    fn behave(&self, answer: &Answer) {
        match self.variable("CNI_COMMAND") {
            "ADD" => {
                if self.config["link"] == true {
                    self.make_link();
                }
                let mut result = self.result();
                result.extend(answer.add_to_result.clone());
                println!("{}", Value::Object(result));
            }
            "DEL" => self.remove_link(),
            "VERSION" => println!(
                "{}",
                json!({"cniVersion": "1.1.0", "supportedVersions": ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]})
            ),
            _ => {}
        }
    }

    /// The previous result with our interface and addresses, in the version of the request.
    fn result(&self) -> Map<String, Value> {
        let version = self.config["cniVersion"].as_str().unwrap_or("0.1.0");
        let mut result = self.config["prevResult"].as_object().cloned().unwrap_or_default();
        result.insert("cniVersion".to_owned(), json!(version));
        match version {
            "0.1.0" | "0.2.0" => self.old_addresses(&mut result),
            "0.3.0" | "0.3.1" | "0.4.0" => self.addresses(&mut result, true),
            _ => self.addresses(&mut result, false),
        }
        result
    }

    fn configured(&self, key: &str) -> Vec<Value> {
        self.config[key].as_array().cloned().unwrap_or_default()
    }

    fn old_addresses(&self, result: &mut Map<String, Value>) {
        for address in self.configured("addresses") {
            let (key, gateway) =
                if is_v6(&address) { ("ip6", "gateway6") } else { ("ip4", "gateway") };
            let mut ip = json!({"ip": address});
            if !self.config[gateway].is_null() {
                ip["gateway"] = self.config[gateway].clone();
            }
            result.insert(key.to_owned(), ip);
        }
    }

    fn addresses(&self, result: &mut Map<String, Value>, with_family: bool) {
        let interfaces = list(result, "interfaces");
        let index = interfaces.len();
        interfaces.push(json!({
            "name": self.variable("CNI_IFNAME"),
            "mac": mac(self.variable("CNI_CONTAINERID"), self.variable("CNI_IFNAME")),
            "sandbox": self.variable("CNI_NETNS"),
        }));
        let ips = list(result, "ips");
        for address in self.configured("addresses") {
            let mut ip = json!({"address": address, "interface": index});
            if with_family {
                ip["version"] = json!(if is_v6(&address) { "6" } else { "4" });
            }
            let gateway = &self.config[if is_v6(&address) { "gateway6" } else { "gateway" }];
            if !gateway.is_null() {
                ip["gateway"] = gateway.clone();
            }
            ips.push(ip);
        }
        let routes = self.configured("routes");
        if !routes.is_empty() {
            list(result, "routes").extend(routes);
        }
    }

    /// A bridge without ports: this kernel has no dummy interfaces.
    fn make_link(&self) {
        let name = self.variable("CNI_IFNAME");
        let mac = mac(self.variable("CNI_CONTAINERID"), name);
        self.ip(&["link", "add", name, "address", &mac, "type", "bridge"]);
        self.ip(&["link", "set", name, "up"]);
        for address in self.configured("addresses") {
            self.ip(&["addr", "add", address.as_str().unwrap(), "dev", name]);
        }
        for route in self.configured("routes") {
            let destination = route["dst"].as_str().unwrap();
            let gateway =
                route["gw"].as_str().or(self.config["gateway"].as_str()).expect("a gateway");
            self.ip(&["route", "add", destination, "via", gateway, "dev", name]);
        }
    }

    fn remove_link(&self) {
        let netns = self.variable("CNI_NETNS");
        if !netns.is_empty() && Path::new(netns).exists() {
            let name = self.variable("CNI_IFNAME");
            let made_here =
                "ip -o link show type bridge dev \"$0\" | grep -q . && ip link del \"$0\"";
            let _ = Command::new("nsenter")
                .args([&format!("--net={netns}"), "sh", "-c", made_here, name])
                .stderr(std::process::Stdio::null())
                .status();
        }
    }

    fn ip(&self, arguments: &[&str]) {
        let netns = format!("--net={}", self.variable("CNI_NETNS"));
        let status =
            Command::new("nsenter").args([netns.as_str(), "ip"]).args(arguments).status().unwrap();
        if !status.success() {
            println!(
                "{}",
                json!({"code": 999, "msg": format!("ip {} failed", arguments.join(" "))})
            );
            exit(1);
        }
    }
}

fn exact_environment() -> Vec<(String, String)> {
    let bytes = std::fs::read("/proc/self/environ").expect("/proc");
    let text = String::from_utf8_lossy(&bytes);
    let pairs = text.split('\0').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(a, b)| (a.into(), b.into()))
        .collect()
}

fn wait_for(file: &Path) {
    while !file.exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn list<'a>(result: &'a mut Map<String, Value>, key: &str) -> &'a mut Vec<Value> {
    result.entry(key).or_insert_with(|| json!([])).as_array_mut().expect("a list")
}

fn is_v6(address: &Value) -> bool {
    address.as_str().is_some_and(|address| address.contains(':'))
}

/// The same for the same attachment, in every call.
fn mac(container: &str, interface: &str) -> String {
    let hash = crc32fast::hash(format!("{container} {interface}").as_bytes()).to_be_bytes();
    format!("02:00:{:02x}:{:02x}:{:02x}:{:02x}", hash[0], hash[1], hash[2], hash[3])
}
