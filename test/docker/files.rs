//! Volumes, binds, tmpfs, and copies.

use crate::{BOX, linux};
use medley_test::*;

each_docker_and_storage! {
    async fn volumes_keep_what_containers_write(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        docker.says(&["volume", "create", "store"]).await?;
        docker.run_says(&["-v", "store:/store", BOX, "sh", "-c", "echo kept > /store/word"]).await?;
        let cat = ["cat", "/store/word"];
        assert_eq!(docker.run_says(&[&["-v", "store:/store:ro", BOX][..], &cat].concat()).await?, "kept");
        let write = ["-v", "store:/store:ro", BOX, "sh", "-c", "echo x > /store/word"];
        let said = docker.run(&write).await?;
        assert!(said.code != 0 && said.err.contains("Read-only"), "{}", said.err);
        // What the image has there is copied into a new volume.
        assert_eq!(docker.run_says(&["-v", "fresh:/etc", BOX, "cat", "/etc/note"]).await?, "a note");
        docker.up("one", &["-v", "/own", BOX, "sh", "-c", "echo shared > /own/word; exec sleep 3600"]).await?;
        let shared = ["run", "--rm", "--runtime", docker.flag(), "--volumes-from", "one", BOX, "cat", "/own/word"];
        docker.until_says(&shared, |said| said == "shared\n").await?;
        docker.says(&["rm", "-fv", "one"]).await?;
        docker.says(&["volume", "rm", "store", "fresh"]).await?;
        assert_eq!(docker.says(&["volume", "ls", "-q"]).await?, "");
        Ok(())
    }

    async fn binds_and_tmpfs_are_as_asked(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let dir = docker.dir().join("bound");
        std::fs::create_dir(&dir)?;
        std::fs::write(dir.join("word"), "of the host\n")?;
        let bind = format!("{}:/bound", dir.display());
        let script = "cat /bound/word; echo of the container > /bound/answer";
        assert_eq!(docker.run_says(&["-v", &bind, BOX, "sh", "-c", script]).await?, "of the host");
        assert_eq!(std::fs::read_to_string(dir.join("answer"))?, "of the container\n");
        let said = docker.run(&["-v", &format!("{bind}:ro"), BOX, "touch", "/bound/x"]).await?;
        assert!(said.code != 0 && said.err.contains("Read-only"), "{}", said.err);
        let file = format!("{}/word:/etc/word:ro", dir.display());
        assert_eq!(docker.run_says(&["-v", &file, BOX, "cat", "/etc/word"]).await?, "of the host");
        let shared = format!("type=bind,src={},dst=/bound,bind-propagation=rprivate", dir.display());
        assert_eq!(docker.run_says(&["--mount", &shared, BOX, "cat", "/bound/word"]).await?, "of the host");
        let tmpfs = ["--read-only", "--tmpfs", "/run:size=64k,mode=1777", "--mount", "type=tmpfs,dst=/t,tmpfs-size=128k", BOX];
        let script = "touch /run/x /t/x && df -k /run /t | awk 'NR>1 {print $2}'; touch /etc/x";
        let said = docker.run(&[&tmpfs[..], &["sh", "-c", script]].concat()).await?;
        assert_eq!(said.out, "64\n128\n");
        assert!(said.code != 0 && said.err.contains("Read-only"), "{}", said.err);
        let size = docker.run_says(&["--shm-size", "8m", BOX, "sh", "-c", "df -k /dev/shm | awk 'NR>1 {print $2}'"]).await?;
        assert_eq!(size, "8192");
        Ok(())
    }

    async fn files_are_copied_in_and_out_and_kept_in_images(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        docker.up("it", &[BOX, "sleep", "3600"]).await?;
        let file = docker.dir().join("word");
        std::fs::write(&file, "of the host\n")?;
        docker.says(&["cp", &file.to_string_lossy(), "it:/data/word"]).await?;
        assert_eq!(docker.exec_says(&["it", "cat", "/data/word"]).await?, "of the host");
        let out = docker.dir().join("note");
        docker.says(&["cp", "it:/etc/note", &out.to_string_lossy()]).await?;
        assert_eq!(std::fs::read_to_string(&out)?, "a note\n");
        let changed = docker.says(&["diff", "it"]).await?;
        assert!(changed.lines().any(|line| line == "A /data/word"), "{changed}");
        docker.says(&["stop", "-t", "0", "it"]).await?;
        std::fs::write(&file, "of a stopped one\n")?;
        docker.says(&["cp", &file.to_string_lossy(), "it:/data/word"]).await?;
        docker.says(&["commit", "it", "medley.test/kept"]).await?;
        let said = docker.run_says(&["medley.test/kept", "cat", "/data/word"]).await?;
        assert_eq!(said, "of a stopped one");
        docker.says(&["start", "it"]).await?;
        assert_eq!(docker.exec_says(&["it", "cat", "/data/word"]).await?, "of a stopped one");
        Ok(())
    }
}
