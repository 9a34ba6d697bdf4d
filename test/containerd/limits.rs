//! Limits at create and by update, as the files of a container's cgroup have them, with each driver that makes it:
//! the runtime itself, or systemd where it runs.

use medley_test::client::process;
use medley_test::stdio::Stdin;
use medley_test::*;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;

const MOUNT: &str = "/sys/fs/cgroup";

/// runc's shim is told of the driver systemd by its options; ours can tell by itself.
const SYSTEMD_OPTIONS: (&str, [u8; 2]) = ("containerd.runc.v1.Options", [9 << 3, 1]);

/// Who makes a container's cgroup.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Driver {
    Runtime,
    Systemd,
}

/// Those that this machine can try.
fn drivers() -> &'static [Driver] {
    if is_unified() && Path::new("/run/systemd/system").is_dir() {
        &[Driver::Runtime, Driver::Systemd]
    } else {
        &[Driver::Runtime]
    }
}

fn is_unified() -> bool {
    Path::new(MOUNT).join("cgroup.controllers").exists()
}

/// Containers of one image on one containerd.
struct Bench {
    containerd: Containerd,
    image: Image,
    driver: Driver,
}

impl Bench {
    async fn start(runtime: Runtime, driver: Driver) -> Result<Self> {
        let containerd = Containerd::start(runtime).await?;
        let image = images::linux_builder("linux")?
            .entrypoint(["/bin/sleep", "3600"])
            .build()?;
        containerd.import(&[&image]).await?;
        Ok(Self {
            containerd,
            image,
            driver,
        })
    }

    async fn client(&self) -> Result<client::Client> {
        let client = self.containerd.client().await?;
        Ok(match self.driver {
            Driver::Runtime => client,
            Driver::Systemd => {
                let (kind, options) = SYSTEMD_OPTIONS;
                client.with_options(kind, options.to_vec())
            }
        })
    }

    fn spec(&self, client: &client::Client, id: &str, resources: &Value) -> Spec {
        client.spec(&self.image, id).edit(|json| {
            if self.driver == Driver::Systemd {
                let slice = format!("{}-limits.slice", self.containerd.name());
                json["linux"]["cgroupsPath"] = json!(format!("{slice}:medley:{id}"));
            }
            for (name, value) in resources.as_object().into_iter().flatten() {
                json["linux"]["resources"][name] = value.clone();
            }
        })
    }

    async fn run(&self, id: &str, resources: Value) -> Result<(Container, Task)> {
        let client = self.client().await?;
        let spec = self.spec(&client, id, &resources);
        let container = client.create(id, &self.image, spec).await?;
        let task = container.start(Stdin::None).await?;
        Ok((container, task))
    }

    async fn refused(&self, resources: Value) -> Result<String> {
        let client = self.client().await?;
        let spec = self.spec(&client, "refused", &resources);
        let status = client.refused("refused", &self.image, spec).await?;
        Ok(status.message().to_owned())
    }

    /// A slice stays: who asks for one removes it.
    async fn nothing_left(&self) -> Result<()> {
        if self.driver == Driver::Runtime {
            return self.containerd.expect_clean();
        }
        let name = self.containerd.name();
        let slice = Path::new(MOUNT).join(format!("{name}.slice/{name}-limits.slice"));
        let scope = slice.join("medley-refused.scope");
        proc::until("systemd has forgotten the scope", || !scope.exists()).await
    }

    async fn close(self) -> Result<()> {
        if self.driver == Driver::Systemd {
            systemctl(&["stop", "--", &format!("{}.slice", self.containerd.name())])?;
        }
        self.containerd.close().await
    }
}

fn systemctl(args: &[&str]) -> Result<()> {
    let done = std::process::Command::new("systemctl")
        .args(args)
        .output()?;
    ensure!(done.status.success(), "systemctl {args:?}: {done:?}");
    Ok(())
}

async fn end((container, task): (Container, Task)) -> Result<()> {
    task.destroy().await?;
    container.delete().await
}

/// The dir of a process's cgroup with this controller of cgroup v1, or the one of v2.
fn dir(pid: u32, controller: &str) -> Result<PathBuf> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let path = |line: &str| {
        let mut parts = line.splitn(3, ':');
        let (number, names, path) = (parts.next()?, parts.next()?, parts.next()?);
        let path = path.trim_start_matches('/');
        if is_unified() {
            return (number == "0").then(|| Path::new(MOUNT).join(path));
        }
        let has = names.split(',').any(|name| name == controller);
        has.then(|| Path::new(MOUNT).join(names).join(path))
    };
    text.lines().find_map(path).context("no such cgroup")
}

/// What a file has: that of v2, or else of a controller of v1. None if the kernel has no such file.
fn value(task: &Task, v2: &str, (controller, v1): (&str, &str)) -> Result<Option<String>> {
    let file = if is_unified() { v2 } else { v1 };
    match std::fs::read_to_string(dir(task.pid, controller)?.join(file)) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The files of usual limits, by their names on v2 and on v1.
const USUAL: [(&str, (&str, &str)); 9] = [
    ("memory.max", ("memory", "memory.limit_in_bytes")),
    ("memory.low", ("memory", "memory.soft_limit_in_bytes")),
    ("memory.swap.max", ("memory", "memory.memsw.limit_in_bytes")),
    ("cpu.weight", ("cpu", "cpu.shares")),
    ("cpu.max", ("cpu", "cpu.cfs_quota_us")),
    ("cpu.max", ("cpu", "cpu.cfs_period_us")),
    ("cpuset.cpus", ("cpuset", "cpuset.cpus")),
    ("cpuset.mems", ("cpuset", "cpuset.mems")),
    ("pids.max", ("pids", "pids.max")),
];

fn usual(task: &Task) -> Result<Vec<Option<String>>> {
    USUAL.iter().map(|(v2, v1)| value(task, v2, *v1)).collect()
}

/// Has systemd set anew what it knows of.
fn reload(driver: Driver) -> Result<()> {
    match driver {
        Driver::Runtime => Ok(()),
        Driver::Systemd => systemctl(&["daemon-reload"]),
    }
}

/// The number of a disk of this machine.
fn disk() -> Result<String> {
    let mut disks: Vec<_> = std::fs::read_dir("/sys/block")?.collect::<Result<_, _>>()?;
    disks.sort_by_key(std::fs::DirEntry::file_name);
    // Those with something in them; of the others some have no queue.
    let number = disks.iter().find_map(|disk| {
        let read = |file: &str| std::fs::read_to_string(disk.path().join(file)).ok();
        let filled = read("size")?.trim() != "0";
        read("dev").filter(|_| filled)
    });
    Ok(number.context("no disk")?.trim().to_owned())
}

each_runtime! {
    async fn a_limit_is_the_same_at_create_and_by_update(runtime: Runtime) -> Result<()> {
        for driver in drivers() {
            let bench = Bench::start(runtime, *driver).await?;
            let limits = json!({
                "memory": {"limit": 64 * MIB, "swap": 64 * MIB, "reservation": 32 * MIB},
                "cpu": {"shares": 512, "quota": 20000, "period": 50000, "cpus": "0", "mems": "0"},
                "pids": {"limit": 77},
            });
            let created = bench.run("created", limits.clone()).await?;
            let updated = bench.run("updated", json!({})).await?;
            let before = usual(&updated.1)?;
            updated.1.update(&limits).await?;
            let seen = usual(&created.1)?;
            assert_eq!(usual(&updated.1)?, seen, "{driver:?}");
            assert_ne!(seen, before);
            reload(*driver)?;
            assert_eq!(usual(&updated.1)?, seen, "{driver:?}");
            assert_eq!(usual(&created.1)?, seen, "{driver:?}");
            let of = |file: &str| {
                let named = |(v2, (_, v1)): &(&str, (&str, &str))| *v2 == file || *v1 == file;
                let place = USUAL.iter().position(named);
                place.and_then(|place| seen[place].clone())
            };
            assert_eq!(of("memory.max"), Some((64 * MIB).to_string()));
            assert_eq!(of("memory.low"), Some((32 * MIB).to_string()));
            assert_eq!(of("pids.max").as_deref(), Some("77"));
            assert_eq!(of("cpuset.cpus").as_deref(), Some("0"));
            let (time, swap) = if is_unified() { ("20000 50000", 0) } else { ("20000", 64 * MIB) };
            assert_eq!(of("cpu.max").as_deref(), Some(time));
            if let Some(limit) = of("memory.swap.max") {
                assert_eq!(limit, swap.to_string());
            }
            end(created).await?;
            end(updated).await?;
            bench.close().await?;
        }
        Ok(())
    }

    async fn no_limit_has_two_names(runtime: Runtime) -> Result<()> {
        for driver in drivers() {
            let bench = Bench::start(runtime, *driver).await?;
            let none = json!({
                "memory": {"limit": -1, "swap": -1},
                "cpu": {"quota": -1},
                "pids": {"limit": -1},
            });
            let free = bench.run("free", none.clone()).await?;
            // systemd has a number of processes of its own where none is named.
            let unnamed = bench.run("unnamed", json!({"pids": {"limit": -1}})).await?;
            let swap = USUAL[2];
            let seen = |task: &Task| -> Result<_> {
                Ok([USUAL[0], swap, USUAL[4], USUAL[8]].map(|(v2, v1)| value(task, v2, v1).ok().flatten()))
            };
            let expected = seen(&unnamed.1)?;
            assert_eq!(seen(&free.1)?, expected, "{driver:?}");
            // And it is what takes a limit away.
            let some = json!({"memory": {"limit": 64 * MIB, "swap": 64 * MIB}, "cpu": {"quota": 20000}, "pids": {"limit": 77}});
            free.1.update(&some).await?;
            assert_ne!(seen(&free.1)?, expected, "{driver:?}");
            free.1.update(&none).await?;
            assert_eq!(seen(&free.1)?, expected, "{driver:?}");
            end(free).await?;
            end(unnamed).await?;
            bench.close().await?;
        }
        Ok(())
    }

    async fn huge_pages_are_limited(runtime: Runtime) -> Result<()> {
        let file = if is_unified() { "hugetlb.2MB.max" } else { "hugetlb.2MB.limit_in_bytes" };
        for driver in drivers() {
            let bench = Bench::start(runtime, *driver).await?;
            let limits = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]});
            let has = match is_unified() {
                true => std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")?.contains("hugetlb"),
                false => Path::new("/sys/fs/cgroup/hugetlb").join(file).exists(),
            };
            if !has {
                let sentence = bench.refused(limits).await?;
                assert!(sentence.contains("huge") || sentence.contains("cgroup"), "{sentence}");
                bench.close().await?;
                continue;
            }
            let it = bench.run("it", limits).await?;
            let seen = std::fs::read_to_string(dir(it.1.pid, "hugetlb")?.join(file))?;
            assert_eq!(seen.trim(), (4 * MIB).to_string(), "{driver:?}");
            end(it).await?;
            bench.close().await?;
        }
        Ok(())
    }

    async fn what_a_container_reads_of_a_disk_is_limited(runtime: Runtime) -> Result<()> {
        let disk = disk()?;
        let (major, minor) = disk.split_once(':').context("no number")?;
        let (major, minor): (i64, i64) = (major.parse()?, minor.parse()?);
        let limits = json!({"blockIO": {
            "throttleReadBpsDevice": [{"major": major, "minor": minor, "rate": MIB}],
            "throttleWriteIOPSDevice": [{"major": major, "minor": minor, "rate": 50}],
        }});
        for driver in drivers() {
            let bench = Bench::start(runtime, *driver).await?;
            let it = bench.run("it", limits.clone()).await?;
            reload(*driver)?;
            let read = |v1: &str| -> Result<String> {
                let value = value(&it.1, "io.max", ("blkio", v1))?;
                value.context("no file")
            };
            let (bytes, writes) = (
                read("blkio.throttle.read_bps_device")?,
                read("blkio.throttle.write_iops_device")?,
            );
            assert!(bytes.contains(&disk) && bytes.contains("1048576"), "{driver:?}: {bytes}");
            assert!(writes.contains(&disk) && writes.contains("50"), "{driver:?}: {writes}");
            end(it).await?;
            bench.close().await?;
        }
        Ok(())
    }

    async fn a_cgroup_without_controllers_gets_what_limits_need(runtime: Runtime) -> Result<()> {
        if !is_unified() {
            // Each controller has a hierarchy of its own there.
            return Ok(());
        }
        let bench = Bench::start(runtime, Driver::Runtime).await?;
        let above = format!("{}-made", bench.containerd.name());
        let made = Path::new(MOUNT).join(&above);
        std::fs::create_dir_all(made.join("it"))?;
        let client = bench.client().await?;
        let limits = json!({"memory": {"limit": 64 * MIB}, "pids": {"limit": 77}});
        let spec = bench.spec(&client, "it", &limits).edit(|json| {
            json["linux"]["cgroupsPath"] = json!(format!("/{above}/it"));
        });
        let container = client.create("it", &bench.image, spec).await?;
        let task = container.start(Stdin::None).await?;
        let read = |file: &str| std::fs::read_to_string(made.join("it").join(file));
        assert_eq!(read("memory.max")?.trim(), (64 * MIB).to_string());
        assert_eq!(read("pids.max")?.trim(), "77");
        end((container, task)).await?;
        std::fs::remove_dir(made)?;
        bench.close().await
    }

    async fn a_device_stays_refused_after_an_update(runtime: Runtime) -> Result<()> {
        for driver in drivers() {
            let bench = Bench::start(runtime, *driver).await?;
            let (container, task) = bench.run("it", json!({})).await?;
            // The kernel's log, which containerd's rules do not name.
            let open = "rm -f /log; mknod /log c 1 11 && head -c 0 /dev/null && : < /log";
            let shell = process(&["sh", "-c", open]);
            let (code, _, text) = task.run_exec("before", shell.clone()).await?;
            assert!(code != 0 && text.contains("not permitted"), "{driver:?}: {code} {text}");
            task.update(&json!({"pids": {"limit": 77}, "cpu": {"shares": 512}})).await?;
            reload(*driver)?;
            let (code, _, text) = task.run_exec("after", shell).await?;
            assert!(code != 0 && text.contains("not permitted"), "{driver:?}: {code} {text}");
            end((container, task)).await?;
            bench.close().await?;
        }
        Ok(())
    }

    /// What an update told systemd is nothing to a container of the same name that comes later.
    async fn a_name_is_free_again_after_an_update(runtime: Runtime) -> Result<()> {
        for driver in drivers() {
            let bench = Bench::start(runtime, *driver).await?;
            let it = bench.run("it", json!({})).await?;
            let before = usual(&it.1)?;
            it.1.update(&json!({"memory": {"limit": 64 * MIB}, "pids": {"limit": 77}})).await?;
            end(it).await?;
            let it = bench.run("it", json!({})).await?;
            assert_eq!(usual(&it.1)?, before, "{driver:?}");
            end(it).await?;
            bench.close().await?;
        }
        Ok(())
    }

    async fn a_kill_for_want_of_memory_does_not_end_a_scope(runtime: Runtime) -> Result<()> {
        for driver in drivers() {
            let bench = Bench::start(runtime, *driver).await?;
            let client = bench.client().await?;
            let events = client.events().await?;
            let limits = json!({"memory": {"limit": 32 * MIB, "swap": 32 * MIB}});
            let spec = bench.spec(&client, "it", &limits).args(["/bin/sh", "-c", "tail /dev/zero; sleep 3600"]);
            let container = client.create("it", &bench.image, spec).await?;
            let task = container.start(Stdin::None).await?;
            events.wait_for("it", "oom").await?;
            assert_eq!(task.status().await?.as_str_name(), "RUNNING", "{driver:?}");
            end((container, task)).await?;
            bench.close().await?;
        }
        Ok(())
    }
}

/// What runc of Debian 12 and 13 does not know yet, or passes over.
#[tokio::test]
async fn the_rest_of_the_limits_is_set_at_create_and_by_update() -> Result<()> {
    for driver in drivers() {
        let bench = Bench::start(Runtime::Medley, *driver).await?;
        let disk = disk()?;
        let (major, minor) = disk.split_once(':').context("no number")?;
        let (major, minor): (i64, i64) = (major.parse()?, minor.parse()?);
        let limits = json!({
            "cpu": {"quota": 20000, "period": 50000, "burst": 10000},
            "blockIO": {"throttleWriteBpsDevice": [{"major": major, "minor": minor, "rate": MIB}]},
        });
        let created = bench.run("created", limits.clone()).await?;
        let updated = bench.run("updated", json!({})).await?;
        updated.1.update(&limits).await?;
        for task in [&created.1, &updated.1] {
            let burst = value(task, "cpu.max.burst", ("cpu", "cpu.cfs_burst_us"))?;
            assert_eq!(burst.as_deref(), Some("10000"), "{driver:?}");
            let v1 = ("blkio", "blkio.throttle.write_bps_device");
            let written = value(task, "io.max", v1)?.unwrap_or_default();
            assert!(written.contains("1048576"), "{driver:?}: {written}");
        }
        // 0 is no limit.
        let none = json!({"blockIO": {"throttleWriteBpsDevice": [{"major": major, "minor": minor, "rate": 0}]}});
        updated.1.update(&none).await?;
        let v1 = ("blkio", "blkio.throttle.write_bps_device");
        assert_eq!(value(&updated.1, "io.max", v1)?.as_deref(), Some(""));
        end(created).await?;
        end(updated).await?;

        let idle = bench
            .run("idle", json!({"cpu": {"idle": 1, "shares": 512}}))
            .await?;
        reload(*driver)?;
        let seen = value(&idle.1, "cpu.idle", ("cpu", "cpu.idle"))?;
        assert_eq!(seen.as_deref(), Some("1"), "{driver:?}");
        idle.1
            .update(&json!({"cpu": {"idle": 0, "shares": 512}}))
            .await?;
        reload(*driver)?;
        let seen = value(&idle.1, "cpu.idle", ("cpu", "cpu.idle"))?;
        assert_eq!(seen.as_deref(), Some("0"), "{driver:?}");
        end(idle).await?;
        bench.close().await?;
    }
    Ok(())
}

/// What this node can't limit is refused by its name, and nothing is left behind.
#[tokio::test]
async fn a_limit_that_cannot_be_set_is_refused_by_its_name() -> Result<()> {
    for driver in drivers() {
        let bench = Bench::start(Runtime::Medley, *driver).await?;
        for (limits, words) in [
            (json!({"rdma": {"none_0": {"hcaHandles": 2}}}), "rdma"),
            (
                json!({"hugepageLimits": [{"pageSize": "3MB", "limit": MIB}]}),
                "hugepageLimits",
            ),
            (
                json!({"blockIO": {"weightDevice": [{"major": 0, "minor": 999, "weight": 500}]}}),
                "0:999|blockIO.weightDevice",
            ),
            (
                json!({"blockIO": {"leafWeight": 500}}),
                "blockIO.leafWeight",
            ),
            (json!({"cpu": {"period": 5}}), "cpu.period is 5"),
            (
                json!({"memory": {"limit": 64 * MIB, "swap": 32 * MIB}}),
                "memory and swap",
            ),
        ] {
            let sentence = bench.refused(limits).await?;
            let said = words.split('|').any(|words| sentence.contains(words));
            assert!(said, "{driver:?}: {sentence}");
            bench.nothing_left().await?;
        }
        bench.close().await?;
    }
    Ok(())
}
