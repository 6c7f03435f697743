//! Filesystems on real loop devices, mounted in a mount namespace of the test's own.

use std::{
    fs,
    path::Path,
    process::{Child, Command},
};

use twindisk_services::{Problem, Role, ServiceState, Stack};

use crate::support::{Scene, block_on, isolated, mount_tmpfs, states, tool, until};

/// A loop device with an ext4 on it.
struct Loop(String);

impl Loop {
    fn new(scene: &Scene) -> Self {
        let image = scene.path("image");
        fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        let device = Self(tool(
            "losetup",
            &["--find", "--show", image.to_str().unwrap()],
        ));
        tool("mkfs.ext4", &["-q", &device.0]);
        fs::create_dir(scene.path("mnt")).unwrap();
        device
    }

    fn stack(&self, scene: &Scene) -> Stack {
        scene.stack(&format!(
            "{{ mount = 'DIR/mnt', device = '{}', type = 'ext4', options = 'noatime', stop-timeout = '300ms' }}",
            self.0
        ))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

/// A process that ends with the test.
struct Holder(Child);

impl Holder {
    /// A shell in `folder` that runs `script` and tells when it is there.
    async fn new(scene: &Scene, folder: &Path, script: &str) -> Self {
        let ready = scene.path("ready");
        let script = format!(
            "cd {}; {script}; touch {}; while :; do sleep 0.1; done",
            folder.display(),
            ready.display()
        );
        let holder = Self(Command::new("sh").args(["-c", &script]).spawn().unwrap());
        until("the holder does not start", || ready.exists()).await;
        fs::remove_file(ready).unwrap();
        holder
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn mounts_once_and_unmounts() {
    isolated("mounts_once_and_unmounts", || {
        let scene = Scene::new();
        let device = Loop::new(&scene);
        let mut stack = device.stack(&scene);
        block_on(async {
            assert_eq!(states(&stack).await, [ServiceState::Down]);
            stack.start(7).await.unwrap();
            assert_eq!(states(&stack).await, [ServiceState::Up]);
            fs::write(scene.path("mnt/kept"), "data").unwrap();
            let table = fs::read_to_string("/proc/thread-self/mounts").unwrap();
            assert!(table.contains("noatime"), "{table}");
            // Once: another stack finds it, and one unmount is enough.
            device.stack(&scene).start(7).await.unwrap();
            stack.stop(Role::Primary).await.unwrap();
            assert_eq!(states(&stack).await, [ServiceState::Down]);
            assert!(!scene.path("mnt/kept").exists());
            stack.start(7).await.unwrap();
            assert_eq!(fs::read_to_string(scene.path("mnt/kept")).unwrap(), "data");
            stack.stop(Role::Primary).await.unwrap();
        });
    });
}

#[test]
fn ends_whoever_holds_the_filesystem_and_nobody_else() {
    isolated("ends_whoever_holds_the_filesystem_and_nobody_else", || {
        let scene = Scene::new();
        let device = Loop::new(&scene);
        let mut stack = device.stack(&scene);
        // The same path in another filesystem: what is beneath the mount.
        let beneath = scene.path("mnt");
        block_on(async {
            let mut innocent = Holder::new(&scene, &beneath, "exec 3>file").await;
            stack.start(7).await.unwrap();
            let mnt = scene.path("mnt");
            let mut inside = Holder::new(&scene, &mnt, "trap '' TERM").await;
            let root = Path::new("/");
            let open = format!("exec 3>{}", mnt.join("open").display());
            let mut open = Holder::new(&scene, root, &open).await;
            stack.stop(Role::Primary).await.unwrap();
            assert!(!inside.lives() && !open.lives());
            assert!(innocent.lives());
            assert_eq!(states(&stack).await, [ServiceState::Down]);
        });
    });
}

#[test]
fn says_what_keeps_it_mounted() {
    isolated("says_what_keeps_it_mounted", || {
        let scene = Scene::new();
        let device = Loop::new(&scene);
        let mut stack = device.stack(&scene);
        block_on(async {
            stack.start(7).await.unwrap();
            let nested = scene.path("mnt/nested");
            fs::create_dir(&nested).unwrap();
            mount_tmpfs("nested", &nested);
            let error = stack.stop(Role::Primary).await.unwrap_err().to_string();
            assert!(
                error.contains(&format!("the mount on {}", nested.display())),
                "{error}"
            );
            tool("umount", &[nested.to_str().unwrap()]);
            stack.stop(Role::Primary).await.unwrap();
        });
    });
}

#[test]
fn leaves_another_filesystem_at_its_path_alone() {
    isolated("leaves_another_filesystem_at_its_path_alone", || {
        let scene = Scene::new();
        let device = Loop::new(&scene);
        let mut stack = device.stack(&scene);
        mount_tmpfs("another", &scene.path("mnt"));
        block_on(async {
            let error = stack.start(7).await.unwrap_err();
            assert!(matches!(error.problem, Problem::Occupied(_)), "{error}");
            assert!(
                error.to_string().contains("another is mounted on"),
                "{error}"
            );
            assert!(error.still_up.is_empty(), "{error}");
            stack.stop(Role::Primary).await.unwrap();
            let table = fs::read_to_string("/proc/thread-self/mounts").unwrap();
            assert!(table.contains("another"), "{table}");

            // Over it: neither up nor down, and not to be unmounted blindly.
            tool("umount", &[scene.path("mnt").to_str().unwrap()]);
            stack.start(7).await.unwrap();
            mount_tmpfs("another", &scene.path("mnt"));
            let error = stack.stop(Role::Primary).await.unwrap_err();
            assert!(
                error.to_string().contains("another is mounted on"),
                "{error}"
            );
            tool("umount", &[scene.path("mnt").to_str().unwrap()]);
            stack.stop(Role::Primary).await.unwrap();
        });
    });
}

#[test]
fn says_why_it_does_not_mount() {
    isolated("says_why_it_does_not_mount", || {
        let scene = Scene::new();
        let device = Loop::new(&scene);
        let text = format!(
            "{{ mount = 'DIR/mnt', device = '{}', type = 'xfs' }}",
            device.0
        );
        let error = block_on(scene.stack(&text).start(7)).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("failed (exit status: 32), it said: "),
            "{text}"
        );
        assert!(error.still_up.is_empty(), "{text}");
    });
}
