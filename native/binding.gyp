{
  'targets': [{
    'target_name': 'twinbeat',
    'sources': [
      'src/binding.cc', 'src/blocking.cc', 'src/disk.cc', 'src/engine.cc', 'src/fuse.cc',
      'src/region.cc', 'src/ring.cc', 'src/stream.cc', 'src/system.cc',
    ],
    'defines': ['NAPI_VERSION=8', '_GNU_SOURCE'],
    'cflags': ['-Wall', '-Wextra', '-Werror', '-O2', '-g'],
    'cflags_cc!': ['-std=gnu++14', '-std=gnu++17', '-std=gnu++20'],
    'cflags_cc': ['-std=c++17', '-fno-exceptions', '-fno-rtti'],
  }],
}
