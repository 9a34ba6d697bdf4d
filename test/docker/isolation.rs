//! Rights, filters, devices, sysctls.

use crate::{BOX, linux};
use medley_test::*;

each_docker! {
    async fn capabilities_are_dropped_and_added(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let script = "grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status | cut -f 2";
        let seen = async |options: &[&str]| {
            docker.run_says(&[options, &[BOX, "sh", "-c", script]].concat()).await
        };
        let sets = |inheritable: u64, each: u64, ambient: u64| {
            format!("{inheritable:016x}\n{each:016x}\n{each:016x}\n{each:016x}\n{ambient:016x}")
        };
        assert_eq!(seen(&[]).await?, sets(0, 0xa804_25fb, 0));
        assert_eq!(seen(&["--cap-drop", "ALL"]).await?, sets(0, 0, 0));
        assert_eq!(seen(&["--cap-drop", "ALL", "--cap-add", "CHOWN"]).await?, sets(0, 1, 0));
        assert_eq!(seen(&["--cap-add", "NET_ADMIN"]).await?, sets(0, 0xa804_35fb, 0));
        let said = docker.run_says(&["-u", "u", BOX, "grep", "CapEff", "/proc/self/status"]).await?;
        assert_eq!(said, "CapEff:\t0000000000000000");
        Ok(())
    }

    async fn filters_and_masks_are_as_asked(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let seen = async |options: &[&str]| {
            let script = "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status | cut -f 2; \
                          cat /proc/timer_list /proc/sched_debug 2>/dev/null | wc -c; \
                          (echo 1 > /proc/sys/vm/drop_caches) 2>/dev/null || echo read-only";
            let said = docker.run_says(&[options, &[BOX, "sh", "-c", script]].concat()).await?;
            Ok::<_, Error>(said.replace('\n', " "))
        };
        assert_eq!(seen(&[]).await?, "0 2 0 read-only");
        assert_eq!(seen(&["--security-opt", "no-new-privileges"]).await?, "1 2 0 read-only");
        assert_eq!(seen(&["--security-opt", "seccomp=unconfined"]).await?, "0 0 0 read-only");
        let profile = docker.dir().join("profile.json");
        let refuses_mkdir = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}"#;
        std::fs::write(&profile, refuses_mkdir)?;
        let option = format!("seccomp={}", profile.display());
        let said = docker.run(&["--security-opt", &option, BOX, "mkdir", "/tmp/x"]).await?;
        assert!(said.code == 1 && said.err.contains("not permitted"), "{}", said.err);
        let unmasked = ["--security-opt", "systempaths=unconfined", BOX, "grep", "-c", " /proc/", "/proc/mounts"];
        assert_eq!(docker.run(&unmasked).await?.out, "0\n");
        Ok(())
    }

    async fn a_privileged_container_may_mount_and_sees_devices(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let script = "mount -t tmpfs none /tmp && echo mounted; \
                      grep Seccomp: /proc/self/status | cut -f 2; [ -c /dev/kmsg ] && echo devices; \
                      dd if=/dev/kmsg of=/dev/null count=0 2>/dev/null && echo open";
        let said = docker.run_says(&["--privileged", BOX, "sh", "-c", script]).await?;
        assert_eq!(said, "mounted\n0\ndevices\nopen");
        let said = docker.run(&[BOX, "mount", "-t", "tmpfs", "none", "/tmp"]).await?;
        assert_eq!(said.code, 1);
        Ok(())
    }

    async fn a_device_is_there_outside_of_dev_and_after_a_restart(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let script = "stat -c '%F %t:%T' /opt/null; echo gone > /opt/null && echo written";
        let device = ["--device", "/dev/null:/opt/null", "--name", "it", BOX, "sh", "-c", script];
        let expected = "character special file 1:3\nwritten\n";
        let args = [&["run", "--runtime", docker.flag()][..], &device].concat();
        assert_eq!(docker.says(&args).await?, expected.trim_end());
        docker.says(&["restart", "it"]).await?;
        docker.until_says(&["logs", "it"], |said| said == expected.repeat(2)).await?;
        docker.says(&["rm", "-f", "it"]).await?;
        Ok(())
    }

    async fn devices_are_there_with_the_access_that_was_given(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let script = "(: < /dev/log) 2>/dev/null && echo read; (: > /dev/log) 2>/dev/null && echo write; stat -c %t:%T /dev/log";
        for (access, expected) in [("r", "read\n1:b"), ("w", "write\n1:b"), ("rw", "read\nwrite\n1:b"), ("m", "1:b")] {
            let device = format!("/dev/kmsg:/dev/log:{access}");
            let options = ["--device", &device, "--cap-add", "SYSLOG", BOX, "sh", "-c", script];
            assert_eq!(docker.run_says(&options).await?, expected, "{access}");
        }
        // /dev/kmsg, by number; `*` stands for every one.
        let open = "mknod /tmp/d c 1 11 && dd if=/tmp/d of=/dev/null count=0 2>/dev/null";
        for (rule, code) in [("c 1:11 rwm", 0), ("c 1:* rwm", 0), ("c *:* rmw", 0), ("a *:* rwm", 0), ("c 7:* rmw", 1)] {
            let said = docker.run(&["--device-cgroup-rule", rule, "--security-opt", "seccomp=unconfined", "--cap-add", "SYSLOG", BOX, "sh", "-c", open]).await?;
            assert_eq!(said.code, code, "{rule}: {}", said.err);
        }
        Ok(())
    }

    async fn sysctls_are_set_in_the_containers_own_namespaces(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let options = ["--sysctl", "net.core.somaxconn=77", "--sysctl", "kernel.msgmax=7777", "--sysctl", "net.ipv4.ip_forward=0", BOX];
        let files = ["/proc/sys/net/core/somaxconn", "/proc/sys/kernel/msgmax", "/proc/sys/net/ipv4/ip_forward"];
        let said = docker.run_says(&[&options[..], &["cat"], &files].concat()).await?;
        assert_eq!(said, "77\n7777\n0");
        let said = docker.run(&["--network", "host", "--sysctl", "net.core.somaxconn=77", BOX, "true"]).await?;
        assert_ne!(said.code, 0);
        Ok(())
    }
}
