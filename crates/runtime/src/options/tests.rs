use super::{CacheDir, RuntimeOptions};
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::shim::oci::Options as RuncOptions;
use medley_fuzzing::{Unstructured, inputs, near};
use medley_types::EngineKind;

/// A field of bytes, as protobuf writes it.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2, u8::try_from(value.len()).unwrap()];
    bytes.extend(value);
    bytes
}

fn body(toml: &str) -> Vec<u8> {
    body_of(toml.as_bytes())
}

fn body_of(toml: &[u8]) -> Vec<u8> {
    let mut bytes = field(1, b"type");
    bytes.extend(field(3, toml));
    bytes
}

fn parse(bytes: &[u8]) -> Result<RuntimeOptions, String> {
    RuntimeOptions::parse("runtimeoptions.v1.Options", bytes)
        .map_err(|error| medley_types::sentence(&error))
}

/// A file that goes with the test.
struct File(std::path::PathBuf);

impl File {
    fn new(name: &str, content: &str) -> Self {
        let name = format!("medley-options-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    fn message(&self) -> Vec<u8> {
        field(2, self.0.to_str().unwrap().as_bytes())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

#[test]
fn every_option_is_read_from_the_body() {
    let options = parse(&body(
        "Cache = \"/c\"\nDefaultEngine = \"wasmedge\"\nNoPivotRoot = true\nNoNewKeyring = true\nStack = 16777216\nShimCgroup = \"/s\"\n",
    ))
    .unwrap();
    assert_eq!(
        options,
        RuntimeOptions {
            cache: Some(CacheDir::At("/c".into())),
            default_engine: Some(EngineKind::Wasmedge),
            no_pivot_root: true,
            stack: Some(16 << 20),
            no_new_keyring: true,
            shim_cgroup: "/s".into(),
            ..RuntimeOptions::default()
        }
    );
    let three = parse(&body("Compilers = 3")).unwrap();
    assert_eq!(three.compilers.map(u32::from), Some(3));
    let off = parse(&body("Cache = \"off\"")).unwrap();
    assert_eq!(off.cache, Some(CacheDir::Off));
}

#[test]
fn no_options_say_nothing() {
    assert_eq!(parse(&[]), Ok(RuntimeOptions::default()));
    assert_eq!(parse(&body("")), Ok(RuntimeOptions::default()));
}

#[test]
fn options_are_read_from_the_file_and_the_body_counts_more() {
    let file = File::new("both", "Cache = \"/file\"\nDefaultEngine = \"wasmer\"\n");
    let mut bytes = file.message();
    bytes.extend(field(3, b"Cache = \"/body\""));
    let options = parse(&bytes).unwrap();
    assert_eq!(options.cache, Some(CacheDir::At("/body".into())));
    assert_eq!(options.default_engine, Some(EngineKind::Wasmer));
}

#[test]
fn keys_of_other_runtimes_and_unknown_ones_never_fail() {
    let options = parse(&body(
        "BinaryName = \"/usr/bin/crun\"\nSystemdCgroup = \"odd\"\nPodsPerMoon = 3\n[deep]\na = 1\n",
    ))
    .unwrap();
    assert_eq!(options.ignored, ["BinaryName", "SystemdCgroup"]);
    assert_eq!(options.unknown, ["PodsPerMoon", "deep"]);
}

/// Names with a prefix are known.
#[test]
fn a_message_of_another_type_is_unknown() {
    let other = RuntimeOptions::parse("example.v1.Options", &[7]).unwrap();
    assert_eq!(other.unknown, ["the type \"example.v1.Options\""]);
    let bytes = body("Cache = \"off\"");
    for kind in [
        "containerd.runtimeoptions.v1.Options",
        "type.googleapis.com/runtimeoptions.v1.Options",
    ] {
        let options = RuntimeOptions::parse(kind, &bytes).unwrap();
        assert_eq!(options.cache, Some(CacheDir::Off), "{kind}");
    }
}

#[test]
fn options_of_runcs_shim_are_understood() {
    let runc = RuncOptions {
        shim_cgroup: "/shims".into(),
        no_pivot_root: true,
        no_new_keyring: true,
        binary_name: "crun".into(),
        io_uid: 5,
        ..RuncOptions::default()
    };
    let bytes = runc.write_to_bytes().unwrap();
    let options = RuntimeOptions::parse("containerd.runc.v1.Options", &bytes).unwrap();
    assert_eq!(options.shim_cgroup, "/shims");
    assert!(options.no_pivot_root && options.no_new_keyring);
    assert_eq!(options.ignored, ["BinaryName", "IoUid"]);
}

#[test]
fn what_is_malformed_is_named_in_one_line() {
    let bad = File::new("bad", "ok = 1\n= oops\n");
    let name = bad.0.display().to_string();
    for (bytes, words) in [
        (vec![0xff, 0xff], vec!["runtimeoptions.v1.Options"]),
        (body("a = "), vec!["ConfigBody", "line 1"]),
        (bad.message(), vec![&name, "line 2"]),
        (
            field(2, b"/no/such/file"),
            vec!["ConfigPath", "/no/such/file", "No such file"],
        ),
        (
            field(2, b"relative"),
            vec!["ConfigPath", "relative", "absolute"],
        ),
        (body("Cache = 5"), vec!["Cache", "5", "absolute path"]),
        (
            body("Cache = \"here\""),
            vec!["Cache", "here", "absolute path"],
        ),
        (
            body("DefaultEngine = \"v8\""),
            vec!["DefaultEngine", "v8", "wasmtime"],
        ),
        (
            body("NoPivotRoot = \"yes\""),
            vec!["NoPivotRoot", "yes", "true or false"],
        ),
        (body("Compilers = 0"), vec!["Compilers", "from 1 to 256"]),
        (body("Compilers = \"2\""), vec!["Compilers", "from 1"]),
        (
            body("ShimCgroup = []"),
            vec!["ShimCgroup", "an array", "a path"],
        ),
        (field(3, b"a = \"\xff\""), vec!["ConfigBody", "UTF-8"]),
    ] {
        let text = parse(&bytes).unwrap_err();
        assert!(!text.contains('\n'), "{text:?}");
        for word in words {
            assert!(text.contains(word), "no {word:?} in {text:?}");
        }
    }
}

#[test]
fn any_options_are_read_or_refused_in_one_line() {
    let known = [
        b"Cache = \"/var/cache\"\nStack = 65536\n".to_vec(),
        b"DefaultEngine = 'wasmtime'\nCompilers = 3\nNoPivotRoot = true".to_vec(),
        b"[a.b]\nc = [1, {d = 2.0}, 1979-05-27]\n\"\\u00e9\" = 'x'\n".to_vec(),
    ];
    let mut refused = 0;
    for input in inputs(3000) {
        let toml = near(&mut Unstructured::new(&input), &known).unwrap();
        super::fuzz::runtime_options(&toml);
        super::fuzz::runtime_options(&input);
        refused += usize::from(parse(&body_of(&toml)).is_err());
    }
    assert!((200..2800).contains(&refused), "{refused} of 3000 refused");
}
