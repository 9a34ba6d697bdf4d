use super::UpdateError;
use crate::cgroup::{Cgroup, CgroupDir};
use std::path::PathBuf;

/// Plain dirs in place of a cgroup.
struct Plain {
    root: PathBuf,
    cgroup: Cgroup,
}

const V1: [(&str, &[(&str, &str)]); 4] = [
    (
        "memory",
        &[
            ("memory.limit_in_bytes", "1000000\n"),
            ("memory.memsw.limit_in_bytes", "2000000\n"),
            ("memory.soft_limit_in_bytes", "9223372036854771712\n"),
            ("memory.usage_in_bytes", "500000\n"),
            ("memory.stat", "total_cache 100000\ntotal_shmem 0\n"),
        ],
    ),
    (
        "cpu",
        &[
            ("cpu.shares", "1024\n"),
            ("cpu.cfs_quota_us", "50000\n"),
            ("cpu.cfs_period_us", "100000\n"),
        ],
    ),
    (
        "cpuset",
        &[("cpuset.cpus", "0-1\n"), ("cpuset.mems", "0\n")],
    ),
    ("pids", &[("pids.max", "max\n")]),
];

const V2: [(&str, &[(&str, &str)]); 1] = [(
    "",
    &[
        ("memory.max", "1000000\n"),
        ("memory.swap.max", "max\n"),
        ("memory.low", "0\n"),
        ("memory.high", "max\n"),
        ("memory.current", "500000\n"),
        ("memory.stat", "file 150000\nshmem 50000\n"),
        ("cpu.weight", "100\n"),
        ("cpu.max", "50000 100000\n"),
        ("cpuset.cpus", "\n"),
        ("pids.max", "max\n"),
    ],
)];

impl Plain {
    fn new(test: &str, unified: bool) -> Self {
        let name = format!("medley-update-{test}-{}", std::process::id());
        let root = std::env::temp_dir().join(name);
        let content: &[_] = if unified { &V2 } else { &V1 };
        let mut dirs = Vec::new();
        for (controller, files) in content {
            let path = root.join(controller);
            std::fs::create_dir_all(&path).unwrap();
            for (file, text) in *files {
                std::fs::write(path.join(file), text).unwrap();
            }
            dirs.push(CgroupDir {
                controllers: (*controller).to_owned(),
                path,
            });
        }
        let cgroup = Cgroup { unified, dirs };
        Self { root, cgroup }
    }

    fn update(&self, json: &str) -> Result<(), UpdateError> {
        self.cgroup.update(json.as_bytes())
    }

    fn read(&self, file: &str) -> String {
        let text = std::fs::read_to_string(self.root.join(file)).unwrap();
        text.trim_end().to_owned()
    }

    fn content(&self) -> Vec<(PathBuf, String)> {
        let dirs = self.cgroup.dirs.iter();
        let mut content: Vec<_> = dirs
            .flat_map(|dir| std::fs::read_dir(&dir.path).unwrap())
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                let text = std::fs::read_to_string(&path).unwrap();
                (path, text.trim_end().to_owned())
            })
            .collect();
        content.sort();
        content
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.root).unwrap();
    }
}

#[test]
fn on_v1_each_limit_is_a_file_of_its_controller() {
    let plain = Plain::new("v1", false);
    plain
        .update(
            r#"{"devices":[{"allow":false,"access":"rwm"}],
                "memory":{"limit":3000000,"swap":4000000,"reservation":600000},
                "cpu":{"shares":512,"quota":20000,"period":50000,"cpus":"0","mems":""},
                "pids":{"limit":77}}"#,
        )
        .unwrap();
    for (file, value) in [
        ("memory/memory.limit_in_bytes", "3000000"),
        ("memory/memory.memsw.limit_in_bytes", "4000000"),
        ("memory/memory.soft_limit_in_bytes", "600000"),
        ("cpu/cpu.shares", "512"),
        ("cpu/cpu.cfs_quota_us", "20000"),
        ("cpu/cpu.cfs_period_us", "50000"),
        ("cpuset/cpuset.cpus", "0"),
        ("cpuset/cpuset.mems", "0"),
        ("pids/pids.max", "77"),
    ] {
        assert_eq!(plain.read(file), value, "{file}");
    }
}

#[test]
fn on_v2_shares_become_a_weight_and_swap_is_less_the_memory() {
    let plain = Plain::new("v2", true);
    plain
        .update(
            r#"{"memory":{"limit":3000000,"swap":4000000,"reservation":600000},
                "cpu":{"shares":1024,"quota":-1,"period":50000,"cpus":"0"},
                "pids":{"limit":-1},"unified":{"memory.high":"2000000"}}"#,
        )
        .unwrap();
    for (file, value) in [
        ("memory.max", "3000000"),
        ("memory.swap.max", "1000000"),
        ("memory.low", "600000"),
        ("memory.high", "2000000"),
        ("cpu.weight", "100"),
        ("cpu.max", "max 50000"),
        ("cpuset.cpus", "0"),
        ("pids.max", "max"),
    ] {
        assert_eq!(plain.read(file), value, "{file}");
    }
}

#[test]
fn what_is_not_named_or_0_stays_as_it_is() {
    for unified in [false, true] {
        let plain = Plain::new(&format!("nothing-{unified}"), unified);
        let before = plain.content();
        let nothing =
            r#"{"memory":{"limit":0,"swap":0},"cpu":{"shares":0,"quota":0},"pids":{"limit":0}}"#;
        for json in ["{}", nothing] {
            plain.update(json).unwrap();
            assert_eq!(plain.content(), before, "{json}");
        }
    }
    let plain = Plain::new("period", true);
    plain.update(r#"{"cpu":{"period":20000}}"#).unwrap();
    assert_eq!(plain.read("cpu.max"), "50000 20000");
}

/// With both figures.
#[test]
fn a_memory_limit_below_what_is_in_use_is_refused() {
    for unified in [false, true] {
        let plain = Plain::new(&format!("usage-{unified}"), unified);
        let before = plain.content();
        let error = plain
            .update(r#"{"cpu":{"shares":2},"memory":{"limit":399999}}"#)
            .unwrap_err();
        assert!(error.is_failed_precondition());
        let sentence = error.to_string();
        assert!(
            sentence.contains("399999") && sentence.contains("400000"),
            "{sentence}"
        );
        assert_eq!(plain.content(), before);
        // What files take can be given back.
        plain.update(r#"{"memory":{"limit":400000}}"#).unwrap();
    }
}

#[test]
fn nothing_changes_if_one_file_refuses() {
    for unified in [false, true] {
        let plain = Plain::new(&format!("refusal-{unified}"), unified);
        // Read as it is, and written never.
        let refusing = plain
            .root
            .join(if unified { "pids.max" } else { "pids/pids.max" });
        std::fs::remove_file(&refusing).unwrap();
        std::os::unix::fs::symlink("/proc/self/stat", &refusing).unwrap();
        let others = |content: Vec<(PathBuf, String)>| -> Vec<_> {
            let others = content.into_iter();
            others.filter(|(path, _)| *path != refusing).collect()
        };
        let before = others(plain.content());
        let error = plain
            .update(
                r#"{"memory":{"limit":3000000,"swap":4000000},
                    "cpu":{"shares":512,"quota":20000,"period":50000,"cpus":"0"},
                    "pids":{"limit":77}}"#,
            )
            .unwrap_err();
        assert!(!error.is_failed_precondition() && !error.is_invalid_argument());
        let sentence = error.to_string();
        assert!(
            sentence.contains("77") && sentence.contains("pids.max"),
            "{sentence}"
        );
        assert_eq!(others(plain.content()), before);
    }
}

#[test]
fn what_makes_no_sense_is_told_from_what_does_not_fit_now() {
    let (v1, v2) = (Plain::new("sense-v1", false), Plain::new("sense-v2", true));
    for plain in [&v1, &v2] {
        let before = plain.content();
        for (json, word) in [
            ("[1", "JSON"),
            (r#"{"cpu":{"period":999}}"#, "999"),
            (r#"{"cpu":{"quota":10}}"#, "10"),
            (r#"{"memory":{"limit":-2}}"#, "-2"),
            (r#"{"memory":{"swappiness":101}}"#, "101"),
            (
                r#"{"hugepageLimits":[{"pageSize":"/..","limit":1}]}"#,
                "/..",
            ),
        ] {
            let error = plain.update(json).unwrap_err();
            assert!(error.is_invalid_argument(), "{json}: {error}");
            assert!(error.to_string().contains(word), "{json}: {error}");
        }
        for (json, word) in [
            (r#"{"memory":{"limit":900000,"swap":800000}}"#, "800000"),
            (r#"{"memory":{"swap":700000}}"#, "1000000"),
            (r#"{"blockIO":{"weight":100}}"#, "weight"),
            (r#"{"rdma":{"mlx5_0":{"hcaHandles":1}}}"#, "rdma.mlx5_0"),
        ] {
            let error = plain.update(json).unwrap_err();
            assert!(error.is_failed_precondition(), "{json}: {error}");
            assert!(error.to_string().contains(word), "{json}: {error}");
        }
        assert_eq!(plain.content(), before);
    }
    for of_v1 in [
        r#"{"cpu":{"realtimeRuntime":900}}"#,
        r#"{"cpu":{"realtimePeriod":900}}"#,
        r#"{"blockIO":{"leafWeight":50}}"#,
        r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"leafWeight":50}]}}"#,
    ] {
        assert!(
            v2.update(of_v1).unwrap_err().is_failed_precondition(),
            "{of_v1}"
        );
    }
    let unified = r#"{"unified":{"memory.high":"1"}}"#;
    assert!(v1.update(unified).unwrap_err().is_failed_precondition());
    let elsewhere = r#"{"unified":{"../memory.high":"1"}}"#;
    assert!(v2.update(elsewhere).unwrap_err().is_invalid_argument());
}

/// What a cgroup may have besides, where the kernel has it.
fn add(plain: &Plain, files: &[(&str, &str)]) {
    for (file, text) in files {
        std::fs::write(plain.root.join(file), text).unwrap();
    }
}

const DISKS: &str = r#"{"blockIO":{"weight":500,
    "weightDevice":[{"major":8,"minor":16,"weight":200}],
    "throttleReadBpsDevice":[{"major":8,"minor":16,"rate":1000}],
    "throttleWriteIOPSDevice":[{"major":8,"minor":16,"rate":0}]}}"#;

#[test]
fn disks_pages_and_rdma_have_files_of_their_own() {
    let plain = Plain::new("more-v2", true);
    add(
        &plain,
        &[
            ("io.weight", "default 100\n"),
            ("io.max", ""),
            ("hugetlb.2MB.max", "max\n"),
            ("hugetlb.2MB.rsvd.max", "max\n"),
            ("rdma.max", "mlx5_0 hca_handle=max hca_object=max\n"),
        ],
    );
    plain.update(DISKS).unwrap();
    // The last of its lines: a plain file keeps no others.
    assert_eq!(plain.read("io.weight"), "8:16 1920");
    assert_eq!(plain.read("io.max"), "8:16 wiops=max");
    let json = r#"{"hugepageLimits":[{"pageSize":"2MB","limit":0}],
        "rdma":{"mlx5_0":{"hcaHandles":2,"hcaObjects":2000}}}"#;
    plain.update(json).unwrap();
    for file in ["hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"] {
        assert_eq!(plain.read(file), "0");
    }
    let rdma = "mlx5_0 hca_handle=2 hca_object=2000";
    assert_eq!(plain.read("rdma.max"), rdma);
    add(&plain, &[("io.bfq.weight", "default 100\n")]);
    plain.update(DISKS).unwrap();
    assert_eq!(plain.read("io.bfq.weight"), "8:16 200");
}

#[test]
fn on_v1_disks_have_a_file_for_each_throttle() {
    let mut plain = Plain::new("more-v1", false);
    let path = plain.root.join("blkio");
    std::fs::create_dir_all(&path).unwrap();
    plain.cgroup.dirs.push(CgroupDir {
        controllers: "blkio".to_owned(),
        path,
    });
    let throttle = |name: &str| format!("blkio/blkio.throttle.{name}_device");
    add(
        &plain,
        &[
            ("blkio/blkio.bfq.weight", "100\n"),
            ("blkio/blkio.bfq.weight_device", ""),
            (&throttle("read_bps"), ""),
            (&throttle("write_iops"), ""),
        ],
    );
    plain.update(DISKS).unwrap();
    assert_eq!(plain.read("blkio/blkio.bfq.weight"), "500");
    assert_eq!(plain.read("blkio/blkio.bfq.weight_device"), "8:16 200");
    assert_eq!(plain.read(&throttle("read_bps")), "8:16 1000");
    assert_eq!(plain.read(&throttle("write_iops")), "8:16 0");
}

#[test]
fn a_disk_gets_back_what_it_had_and_no_more() {
    let plain = Plain::new("undo", true);
    // The first is read as it is, and written never: the update fails there, at its end.
    std::os::unix::fs::symlink("/proc/self/stat", plain.root.join("memory.zswap.max")).unwrap();
    let json = |minor: u32| {
        format!(
            r#"{{"blockIO":{{"throttleReadBpsDevice":[{{"major":8,"minor":{minor},"rate":7}}]}},
                "unified":{{"memory.zswap.max":"1"}}}}"#
        )
    };
    add(
        &plain,
        &[("io.max", "8:0 rbps=1000 wbps=max\n8:1 rbps=5\n")],
    );
    plain.update(&json(0)).unwrap_err();
    assert_eq!(plain.read("io.max"), "8:0 rbps=1000 wbps=max");
    plain.update(&json(2)).unwrap_err();
    assert_eq!(
        plain.read("io.max"),
        "8:2 rbps=max wbps=max riops=max wiops=max"
    );
}

#[test]
fn an_idle_cgroup_has_its_weight_before() {
    for (unified, weight) in [(false, "cpu.shares"), (true, "cpu.weight")] {
        let plain = Plain::new(&format!("idle-{unified}"), unified);
        let order = |json: &str| {
            let resources = serde_json::from_str(json).unwrap();
            let writes = plain.cgroup.plan(&resources).unwrap();
            let files = writes.iter().filter_map(|write| write.path.file_name());
            files.map(std::ffi::OsStr::to_owned).collect::<Vec<_>>()
        };
        let idle = order(r#"{"cpu":{"idle":1,"shares":2}}"#);
        assert_eq!(idle, [weight, "cpu.idle"]);
        let awake = order(r#"{"cpu":{"idle":0,"shares":2}}"#);
        assert_eq!(awake, ["cpu.idle", weight]);
    }
}

#[test]
fn swap_without_a_limit_of_memory_is_all_of_it() {
    let swap = r#"{"memory":{"limit":-1,"swap":5000}}"#;
    // There it is a limit of both.
    let refused = Plain::new("swap-v1", false).update(swap).unwrap_err();
    assert!(refused.is_failed_precondition());
    let plain = Plain::new("swap", true);
    plain.update(swap).unwrap();
    assert_eq!(plain.read("memory.max"), "max");
    assert_eq!(plain.read("memory.swap.max"), "5000");
    plain.update(r#"{"memory":{"limit":-1}}"#).unwrap();
    assert_eq!(plain.read("memory.swap.max"), "max");
}
