#!/usr/bin/env python3
"""The checks themselves: each must complain about what it is there to find."""

import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
import amalgamate  # noqa: E402
import compile_fail  # noqa: E402
import include_direction  # noqa: E402
import inline_only  # noqa: E402
import names  # noqa: E402
import self_contained  # noqa: E402
import x86_targets  # noqa: E402

COMPILER = shutil.which("c++") or "g++"


class Tree(unittest.TestCase):
    """A throw-away source tree."""

    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.directory.name)

    def tearDown(self):
        self.directory.cleanup()

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def header(self, name, text):
        guard = name.upper().replace("/", "_").replace(".", "_").replace("-", "_") + "_"
        return self.write(name, f"#ifndef {guard}\n#define {guard}\n{text}\n#endif\n")


class IncludeDirection(Tree):
    def complaint(self, name, text):
        self.header("inlay/core/a.hpp", "")
        self.header("inlay/config/c.hpp", "")
        self.header("inlay/files/f.hpp", "")
        self.header("inlay/text/t.hpp", "")
        self.header("inlay/model/m.hpp", "")
        self.header("inlay/kernels/packed_layout.hpp", "")
        self.header("inlay/kernels/highway.hpp", "#include <hwy/highway.h>")
        self.header("inlay/kernels/matmul-inl.hpp", '#include "inlay/kernels/highway.hpp"')
        self.header("inlay/inlay.hpp", '#include "inlay/model/m.hpp"')
        self.header(name, text)
        return include_direction.violations(self.root)

    def test_accepts_the_rules(self):
        self.assertEqual(self.complaint("inlay/layers/l.hpp", '#include "inlay/kernels/matmul-inl.hpp"\n#include <span>'), [])
        self.assertEqual(self.complaint("inlay/weights/w.hpp", '#include "inlay/kernels/packed_layout.hpp"'), [])

    def test_refuses_everything_else(self):
        for name, text in [
            ("inlay/core/x.hpp", '#include "inlay/config/c.hpp"'),
            ("inlay/kernels/x.hpp", '#include "inlay/config/c.hpp"'),
            ("inlay/weights/x.hpp", '#include "inlay/kernels/matmul-inl.hpp"'),
            ("inlay/weights/x.hpp", '#include "inlay/kernels/highway.hpp"'),
            ("inlay/text/x.hpp", '#include "inlay/model/m.hpp"'),
            ("inlay/model/x.hpp", '#include "inlay/text/t.hpp"'),
            ("inlay/model/x.hpp", '#include "inlay/inlay.hpp"'),
            ("inlay/model/x.hpp", "#include <hwy/highway.h>"),
            ("inlay/kernels/x-inl.hpp", "#include <hwy/highway.h>"),
            ("inlay/core/x.hpp", "#include <inlay/core/a.hpp>"),
            ("inlay/core/x.hpp", '#include "a.hpp"'),
            ("inlay/core/x.hpp", "#include <iostream>"),
            ("inlay/core/x.hpp", "#include <Eigen/Core>"),
            ("inlay/core/a.hpp", '#include "inlay/core/a.hpp"'),
            ("inlay/novelty/x.hpp", ""),
        ]:
            with self.subTest(name=name, text=text):
                self.tearDown()
                self.setUp()
                self.assertEqual(len(self.complaint(name, text)), 1)

    def test_refuses_a_wrong_guard(self):
        self.write("inlay/core/g.hpp", "#ifndef G_HPP\n#define G_HPP\n#endif\n")
        self.assertIn("INLAY_CORE_G_HPP_", include_direction.violations(self.root)[0])

    def test_finds_circles(self):
        self.header("inlay/core/a.hpp", '#include "inlay/core/b.hpp"')
        self.header("inlay/core/b.hpp", '#include "inlay/core/c.hpp"')
        self.header("inlay/core/c.hpp", '#include "inlay/core/a.hpp"')
        self.assertIn("circle", include_direction.violations(self.root)[0])


class SelfContained(Tree):
    def test_finds_a_missing_include_and_a_missing_guard(self):
        self.header("inlay/good.hpp", "#include <cstddef>\ninline std::size_t Good() { return 1; }")
        self.header("inlay/missing.hpp", "inline std::uint77_t Bad() { return 1; }")
        self.write("inlay/unguarded.hpp", "inline int Twice() { return 2; }\n")
        self.header("inlay/throwing.hpp", "inline void Bad() { throw 1; }")
        found = self_contained.complaints(self.root, COMPILER, [])
        self.assertEqual(len(found), 3)
        self.assertTrue(any("inlay/missing.hpp" in line for line in found))
        self.assertTrue(any("inlay/unguarded.hpp" in line for line in found))
        self.assertTrue(any("inlay/throwing.hpp" in line for line in found))


@unittest.skipUnless(platform.machine() in ("x86_64", "AMD64"), "compiles for x86")
class X86Targets(Tree):
    def test_finds_targets_that_do_not_compile(self):
        self.header("inlay/good.hpp", "inline int Good() { return 1; }")
        self.assertEqual(x86_targets.complaints(self.root, "inlay/good.hpp", [COMPILER], []), [])
        self.header("inlay/bad.hpp", "#ifdef __AVX2__\ninline int Bad() { return nothing; }\n#endif")
        found = x86_targets.complaints(self.root, "inlay/bad.hpp", [COMPILER], [])
        self.assertEqual(len(found), 3)
        self.assertTrue(any("x86-64-v3" in line for line in found))


class InlineOnly(Tree):
    def test_finds_functions_and_variables(self):
        self.header("inlay/good.hpp", "inline int Good() { return 1; }\ninline int good = 1;\ntemplate <class T> T Any() { return {}; }")
        self.assertEqual(inline_only.strong_symbols(self.root, COMPILER, []), [])
        self.header("inlay/bad.hpp", "int Bad() { return 1; }\nint bad = 1;\nint empty;")
        self.assertEqual(sorted(inline_only.strong_symbols(self.root, COMPILER, [])), ["Bad()", "bad", "empty"])


class Names(Tree):
    def test_finds_each_word(self):
        for text in ["see /wor" + "k/main", "share" + "d/hooks", "KERNEL" + "S.md", "// TO" + "DO: later"]:
            with self.subTest(text=text):
                self.write("a.md", text)
                self.assertEqual(len(names.violations(self.root)), 1)
        self.write("a.md", "../share" + "d/fixtures, a framework/ and docs/design.md are fine")
        self.assertEqual(names.violations(self.root), [])


class Amalgamate(Tree):
    def test_order_guards_and_once(self):
        self.header("inlay/z.hpp", '#include "inlay/core/y.hpp"\n#include <vector>\nint z;')
        self.header("inlay/core/y.hpp", '#include "inlay/core/x.hpp"\nint y;')
        self.header("inlay/core/x.hpp", "int x;")
        text = amalgamate.amalgamate(self.root)
        self.assertLess(text.index("int x;"), text.index("int y;"))
        self.assertLess(text.index("int y;"), text.index("int z;"))
        for part in ["int x;", "int y;", "int z;", "#include <vector>"]:
            self.assertEqual(text.count(part), 1)
        self.assertNotIn('#include "', text)
        run = subprocess.run([COMPILER, "-fsyntax-only", "-x", "c++", "-"], input=text, text=True)
        self.assertEqual(run.returncode, 0)

    def test_refuses_circles_and_missing_headers(self):
        self.header("inlay/x.hpp", '#include "inlay/y.hpp"')
        with self.assertRaises(SystemExit):
            amalgamate.amalgamate(self.root)
        self.header("inlay/y.hpp", '#include "inlay/x.hpp"')
        with self.assertRaises(SystemExit):
            amalgamate.amalgamate(self.root)

    def test_check_notices_a_stale_file(self):
        self.header("include/inlay/x.hpp", "int x;")
        output = self.root / "inlay.hpp"
        command = [sys.executable, str(pathlib.Path(amalgamate.__file__)), "--include", str(self.root / "include"),
                   "--output", str(output)]
        self.assertNotEqual(subprocess.run(command + ["--check"], capture_output=True).returncode, 0)
        self.assertEqual(subprocess.run(command).returncode, 0)
        self.assertEqual(subprocess.run(command + ["--check"]).returncode, 0)
        self.header("include/inlay/x.hpp", "int y;")
        self.assertNotEqual(subprocess.run(command + ["--check"], capture_output=True).returncode, 0)


class CompileFail(Tree):
    def complaint(self, text):
        return compile_fail.complaint(self.write("case.cpp", text), [COMPILER, "-std=c++20"])

    def test_the_harness_is_strict(self):
        good = "// expect: seven is not eight\n#if !defined(CONTROL)\nstatic_assert(7 == 8, \"seven is not eight\");\n#endif\n"
        self.assertIsNone(self.complaint(good))
        self.assertIn("compiled", self.complaint("// expect: x\nint a;\n"))
        self.assertIn("another message", self.complaint(good.replace("expect: seven", "expect: nine")))
        self.assertIn("control", self.complaint("// expect: is\nstatic_assert(7 == 8, \"it is not\");\n"))
        self.assertIn("expect", self.complaint("int a = ;\n"))


if __name__ == "__main__":
    unittest.main()
