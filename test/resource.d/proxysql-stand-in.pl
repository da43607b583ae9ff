#!/usr/bin/perl
# A stand-in for ProxySQL, which Debian does not have: `proxysql -f -c CONFIG`. It speaks the MySQL protocol as far as its client needs
# for one question, and answers each with the row that CONFIG has at that time:
#
#     port 22080
#     row 1 0 2048        servers that are ONLINE, connections, the most of them
#
# User "stranger" is refused. Any other line is an error, as in the real one.
use strict;
use warnings;
use IO::Socket::INET;

my ($foreground, $flag, $config) = @ARGV;
die "usage: proxysql -f -c CONFIG\n" unless ($foreground // '') eq '-f' && ($flag // '') eq '-c' && defined $config;

sub settings {
    my %found;
    open my $file, '<', $config or die "$config: $!\n";
    while (<$file>) {
        die "$config:$.: unknown line: $_" unless /^(port|row) (.+)$/;
        $found{$1} = $2;
    }
    return %found;
}

# One packet: three bytes of length, one of its number in the exchange.
sub give { my ($client, $number, $payload) = @_; syswrite $client, substr(pack('V', length $payload), 0, 3) . chr($number) . $payload }
sub take {
    my ($client) = @_;
    my ($head, $payload) = ('', '');
    (sysread $client, $head, 4) == 4 or return;
    my $length = unpack 'V', substr($head, 0, 3) . "\0";
    while (length $payload < $length) { sysread $client, $payload, $length - length $payload, length $payload or return }
    return $payload;
}
sub text { my ($bytes) = @_; chr(length $bytes) . $bytes }

my %now = settings();
my $server = IO::Socket::INET->new(Listen => 5, LocalAddr => "127.0.0.1:$now{port}", ReuseAddr => 1) or die "port $now{port}: $!\n";
my $ok = "\0\0\0\2\0\0\0";
my $end = "\xfe\0\0\2\0";
while (1) {
    my $client = $server->accept or next;
    # Protocol 10; long password, database at connect, 4.1, transactions, secure connection, plug-in authentication.
    give($client, 0, "\x0a8.0.11 (stand-in)\0" . pack('V', 1) . 'saltsalt' . "\0" . pack('v', 0xa209) . chr(33) . pack('v', 2)
        . pack('v', 8) . chr(21) . "\0" x 10 . 'saltsaltsalt' . "\0" . "mysql_native_password\0");
    my $login = take($client) // next;
    if (substr($login, 32) =~ /^stranger\0/) {
        give($client, 2, "\xff" . pack('v', 1045) . "#28000Access denied for user 'stranger'");
        next;
    }
    give($client, 2, $ok);
    while (defined(my $command = take($client))) {
        last if ord $command == 1; # quit
        my @row = split ' ', {settings()}->{row};
        my $number = 1;
        give($client, $number++, chr scalar @row);
        for my $i (0 .. $#row) {
            give($client, $number++, join('', map { text($_) } 'def', '', '', '', "c$i", '') . "\x0c" . pack('v V C v C v', 33, 255, 253, 0, 0, 0));
        }
        give($client, $number++, $end);
        give($client, $number++, join '', map { text($_) } @row);
        give($client, $number, $end);
    }
}
