#!/usr/bin/perl
# A second reader of our messages: Email::MIME, which shares no line with Python's parser or with us.
#
# Reads messages from standard input, each with its length in front (4 octets, big-endian). Writes for each one a line of JSON,
# in ASCII: `headers` ([name, decoded value] in order), `sender` ([phrase, address] of From), and `parts`, the leaves (type, file
# name, Content-ID, and the text, or the octets in hex). Ends with its input; a message that it cannot read ends it too.
use strict;
use warnings;
use Email::MIME;
use Email::MIME::Encode;
use Encode ();
use JSON::PP;

binmode STDIN;
$| = 1;
my $json = JSON::PP->new->ascii;

while (read(STDIN, my $prefix, 4)) {
    read(STDIN, my $octets, unpack('N', $prefix));
    my $mail = Email::MIME->new($octets);
    my (@headers, @parts);
    my @pairs = $mail->header_raw_pairs;
    while (my ($name, $value) = splice @pairs, 0, 2) {
        push @headers, [$name, Email::MIME::Encode::mime_decode($value)];
    }
    $mail->walk_parts(sub {
        my ($part) = @_;
        return if $part->subparts;
        my $type = $part->content_type =~ s/;.*//sr;
        my %one = (type => $type, name => $part->filename, content_id => scalar $part->header_raw('Content-ID'));
        if ($type =~ m{^text/(?:plain|html)$} && !defined $one{name}) {
            $one{text} = Encode::decode('utf8', $part->body);  # not body_str, which knows no noncharacters (U+FFFE)
        } else {
            $one{octets} = unpack('H*', $part->body);
        }
        push @parts, \%one;
    });
    my ($sender) = $mail->header_as_obj('From')->addresses;
    my $read = { headers => \@headers, sender => [$sender->phrase, $sender->address], parts => \@parts };
    print $json->encode($read), "\n";
}
